//! One line from the terminal that is not shown, from before the question on; and the terminal as it was, also after Ctrl-C.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
};
use zeroize::Zeroizing;

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_H: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

/// The terminal, which shows nothing of what is typed.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn open() -> io::Result<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        // Without signals: one that ends this process would leave the terminal dumb.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
        Ok(Self { terminal, before })
    }

    fn line(&mut self, max_bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        // Whole from the start: a vector that grows leaves copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(max_bytes));
        loop {
            let mut byte = Zeroizing::new([0]);
            self.terminal.read_exact(&mut *byte)?;
            let [typed] = *byte;
            match typed {
                b'\n' | b'\r' => return Ok(line),
                CTRL_C => return Err(io::Error::other("interrupted; nothing was changed")),
                CTRL_D if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                CTRL_D => return Ok(line),
                CTRL_U => line.clear(),
                // A character of UTF-8 ends with its first byte, seen from behind.
                CTRL_H | DELETE => while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {},
                _ if line.len() >= max_bytes => return Err(io::ErrorKind::FileTooLarge.into()),
                _ => line.push(typed),
            }
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Enter was not shown either.
        let _ended = self.terminal.write_all(b"\n");
        let _restored = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks for a line of at most so many bytes; without the space around it.
pub(super) fn ask(question: &str, max_bytes: usize) -> io::Result<SecretString> {
    let mut hidden = Hidden::open()?;
    hidden.terminal.write_all(question.as_bytes())?;
    let line = hidden.line(max_bytes)?;
    let text = str::from_utf8(&line).map_err(|_| io::Error::other("what was typed is not UTF-8"))?;
    Ok(SecretString::from(text.trim()))
}
