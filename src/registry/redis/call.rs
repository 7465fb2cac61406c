//! Calls of scripts.

use redis::{Arg, Cmd, RedisWrite, ToRedisArgs};

/// A script: its text, and the name that Redis gives it.
pub(super) struct Script {
    code: &'static str,
    script: redis::Script,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self { code, script: redis::Script::new(code) }
    }

    /// A call whose first key decides where it goes in a Cluster.
    pub(super) fn call(&self, keys: &[&str]) -> Call<'_> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash()).arg(keys.len()).arg(keys);
        Call { script: self, keys: keys.iter().map(|key| (*key).to_owned()).collect(), command }
    }
}

/// One call.
pub(super) struct Call<'a> {
    script: &'a Script,
    keys: Vec<String>,
    command: Cmd,
}

impl Call<'_> {
    pub(super) fn arg<T: ToRedisArgs>(&mut self, value: T) -> &mut Self {
        self.command.arg(value);
        self
    }

    /// The first key: it decides where the call goes in a Cluster.
    pub(super) fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// Every key that is named to the script.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// By the script's name, which is all that Redis needs once it has seen the text.
    pub(super) fn by_name(&self) -> &Cmd {
        &self.command
    }

    /// With the text, for a server that has not seen it. EVAL and not SCRIPT LOAD: it goes to the one server that needs it.
    pub(super) fn with_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.script.code);
        for arg in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = arg {
                command.write_arg(bytes);
            }
        }
        command
    }
}
