//! Where an instance is set up, and what is there.

use super::wishes::{Wish, Wishes, value_of};
use crate::{
    cli::exit::Failure,
    ops,
    settings::{LOCAL_ENVIRONMENT, Overrides, Settings},
    startup,
    types::PublicKey,
};
use secrecy::SecretString;
use std::path::{Path, PathBuf};

const OPEN: u32 = 0o644;
const PRIVATE: u32 = 0o600;
const TOKEN_FILE: &str = "admin.token";

/// A directory with `config/` in it.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    environment: String,
}

/// What `init` did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) node_id: String,
    pub(super) public_key: PublicKey,
    pub(super) made: Vec<PathBuf>,
    pub(super) found: Vec<PathBuf>,
}

impl Done {
    fn note(found: &mut Vec<PathBuf>, made: &mut Vec<PathBuf>, path: PathBuf, is_new: bool) {
        if is_new { made.push(path) } else { found.push(path) }
    }
}

impl Place {
    pub(super) fn new(dir: PathBuf, environment: String) -> Self {
        Self { dir, environment }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn environment(&self) -> &str {
        &self.environment
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("config").join(format!("{}.toml", self.environment))
    }

    pub(super) fn is_configured(&self) -> bool {
        self.config().symlink_metadata().is_ok()
    }

    /// Every command reads the file without being told its name.
    fn is_local(&self) -> bool {
        self.environment == LOCAL_ENVIRONMENT
    }

    /// What holds where the file that is to be written is not there.
    pub(super) fn defaults(&self) -> Result<Settings, Failure> {
        self.layers(Vec::new(), Overrides::new())
    }

    /// What a service that is started here with this environment's name reads, and nothing else.
    fn load(&self) -> Result<Settings, Failure> {
        let settings = self.layers(vec![("ARK_ENV".to_owned(), self.environment.clone())], Overrides::new());
        settings.map_err(|failure| failure.about(self.config().display()))
    }

    fn layers(&self, variables: Vec<(String, String)>, mut overrides: Overrides) -> Result<Settings, Failure> {
        let folder = self.dir.join("config");
        // The token's file is read at once, and from the directory that we are in. The last file that names one counts.
        let local = folder.join(format!("{LOCAL_ENVIRONMENT}.toml"));
        let named = (!variables.is_empty()).then(|| self.config());
        for file in [Some(local), named].into_iter().flatten().filter(|file| file.is_file()) {
            if let Some(path) = Self::token_file_of(&file)? {
                overrides.push(("admin.token_file", self.dir.join(path).to_string_lossy().into_owned()));
            }
        }
        Ok(Settings::from_layers(&folder, variables, overrides)?)
    }

    fn token_file_of(file: &Path) -> Result<Option<String>, Failure> {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| Failure::local(error).about(file.display()))?;
        let table: Option<toml::Table> = text.parse().ok();
        let admin = table.and_then(|table| table.get("admin").cloned());
        Ok(admin.and_then(|admin| admin.get("token_file")?.as_str().map(str::to_owned)))
    }

    /// Makes what is missing. What the settings would refuse is refused before anything is made.
    pub(super) fn set_up(
        &self,
        wishes: &Wishes,
        defaults: &Settings,
        passphrase: Option<&SecretString>,
    ) -> Result<Done, Failure> {
        if self.is_configured() {
            return self.complete(wishes, passphrase);
        }
        let state = wishes.state.clone().unwrap_or_else(|| defaults.state.path.to_string_lossy().into_owned());
        let token_file = format!("{}/{TOKEN_FILE}", state.trim_end_matches('/'));
        let wished = wishes.list(&token_file);
        let overrides = wished.iter().filter(|wish| wish.key != "admin.token_file");
        let overrides = overrides.map(|wish| (wish.key, wish.value.clone())).collect();
        let settings = self.layers(Vec::new(), overrides)?;
        let (mut made, mut found) = (Vec::new(), Vec::new());
        self.directories(&settings, &mut made, &mut found)?;
        if wishes.admin_token {
            let path = self.dir.join(token_file.strip_prefix("./").unwrap_or(&token_file));
            let is_new = ops::write_token(&path)?;
            Done::note(&mut found, &mut made, path, is_new);
        }
        let secret = wishes.redis_url.as_deref().is_some_and(|url| url.contains('@'));
        let differing: Vec<&Wish> =
            wished.iter().filter(|wish| value_of(defaults, wish.key).as_ref() != Some(&wish.value)).collect();
        let text = self.text(&differing);
        ops::make_directory(&self.dir.join("config"), 0o755)?;
        ops::write_new_file(&self.config(), text.as_bytes(), if secret { PRIVATE } else { OPEN })?;
        made.push(self.config());
        let written = self.load()?;
        self.agrees(&written, &differing)?;
        self.key(&written, passphrase, made, found)
    }

    /// There are settings already: they hold.
    fn complete(&self, wishes: &Wishes, passphrase: Option<&SecretString>) -> Result<Done, Failure> {
        let settings = self.load()?;
        let wished = wishes.list("");
        self.agrees(&settings, &wished.iter().filter(|wish| wish.key != "admin.token_file").collect::<Vec<_>>())?;
        if wishes.admin_token && settings.admin.token.is_none() {
            return Err(self.differs("admin.token_file"));
        }
        let (mut made, mut found) = (Vec::new(), vec![self.config()]);
        self.directories(&settings, &mut made, &mut found)?;
        found.extend(settings.admin.token_file.clone());
        self.key(&settings, passphrase, made, found)
    }

    fn directories(
        &self,
        settings: &Settings,
        made: &mut Vec<PathBuf>,
        found: &mut Vec<PathBuf>,
    ) -> Result<(), Failure> {
        for (path, mode) in [(&settings.lattice.path, 0o755), (&settings.state.path, 0o700)] {
            let path = self.dir.join(path.strip_prefix("./").unwrap_or(path));
            let is_new = ops::make_directory(&path, mode)?;
            Done::note(found, made, path, is_new);
        }
        Ok(())
    }

    fn key(
        &self,
        settings: &Settings,
        passphrase: Option<&SecretString>,
        mut made: Vec<PathBuf>,
        mut found: Vec<PathBuf>,
    ) -> Result<Done, Failure> {
        // As the service will find them from there.
        let mut here = settings.clone();
        here.state.path = self.dir.join(settings.state.path.strip_prefix("./").unwrap_or(&settings.state.path));
        here.instance.key_file = settings.instance.key_file.as_ref().map(|path| self.dir.join(path));
        // Before the key, which would be the state of an earlier version.
        let node_id = startup::own_id(&here)?.to_string();
        let path = here.instance.key_file.clone().unwrap_or_else(|| here.state.path.join("identity.key"));
        let shown = match startup::key_place(&here) {
            Some(place) if place.exists() => place.shown()?.map(|shown| shown.public_key),
            Some(_) => None,
            None => startup::load_key(&here)?.map(|key| key.public_key()),
        };
        let public_key = match shown {
            Some(public_key) => {
                if path.exists() {
                    found.push(path);
                }
                public_key
            }
            None => {
                let key = ops::generate_key(&path, passphrase)?;
                made.push(path);
                key.public_key()
            }
        };
        Ok(Done { node_id, public_key, made, found })
    }

    /// Settings that were wished for and are not what holds are never passed over: the file is the operator's.
    fn agrees(&self, settings: &Settings, wished: &[&Wish]) -> Result<(), Failure> {
        let holds = |wish: &Wish| match (wish.key, value_of(settings, wish.key)) {
            ("admin.token_file", value) => value.is_some(),
            (_, value) => value.as_ref() == Some(&wish.value),
        };
        wished.iter().find(|wish| !holds(wish)).map_or(Ok(()), |wish| Err(self.differs(wish.key)))
    }

    fn differs(&self, key: &str) -> Failure {
        Failure::local(format!(
            "{} exists and is left as it is, but its {key} is not what was asked for: change it there, or choose another --env",
            self.config().display()
        ))
    }

    fn text(&self, wished: &[&Wish]) -> String {
        let by = match self.is_local() {
            true => "by every command in this directory".to_owned(),
            false => format!("where ARK_ENV is {}", self.environment),
        };
        let mut text = format!(
            "# Settings of this instance, read {by}. What is not here is as in the defaults: ark-lattice config show\n"
        );
        let mut section = "";
        for wish in wished {
            let Some((name, key)) = wish.key.split_once('.') else { continue };
            if name != section {
                text.push_str(&format!("\n[{name}]\n"));
                section = name;
            }
            text.push_str(&format!("# {}\n{key} = {}\n", wish.comment, wish.toml));
        }
        text
    }

    /// What to type.
    pub(super) fn next(&self) -> Vec<String> {
        let mut next = Vec::new();
        if self.dir != Path::new(".") {
            next.push(format!("cd {}", self.dir.display()));
        }
        let environment = if self.is_local() { String::new() } else { format!("ARK_ENV={} ", self.environment) };
        next.extend(["doctor", "serve"].map(|command| format!("{environment}ark-lattice {command}")));
        next
    }
}
