//! How many connections each address holds open: one that opens them and sends nothing must leave places for the others (slow loris).

use super::Payer;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The open connections of every address. As many rows as there are connections at most.
#[derive(Debug)]
pub struct Connections {
    most: u32,
    open: Mutex<HashMap<Payer, u32>>,
}

/// A connection, counted as long as this lives.
#[derive(Debug)]
pub struct OpenOfAddress {
    payer: Payer,
    all: Arc<Connections>,
}

impl Connections {
    /// At most so many for each address; 0: no bound.
    #[must_use]
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// Counts a connection of `address`.
    ///
    /// # Errors
    /// It has as many as it may.
    pub fn open(self: &Arc<Self>, address: IpAddr) -> Result<Option<OpenOfAddress>, TooMany> {
        if self.most == 0 {
            return Ok(None);
        }
        let payer = Payer::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&payer).copied().unwrap_or_default();
        if count >= self.most {
            return Err(TooMany);
        }
        open.insert(payer, count.saturating_add(1));
        Ok(Some(OpenOfAddress { payer, all: Arc::clone(self) }))
    }
}

/// On this connection a certificate was shown, and one of our authorities issued it.
#[derive(Debug, Clone, Copy)]
pub struct Certified;

/// An address has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Drop for OpenOfAddress {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get(&self.payer).copied() {
            Some(count) if count > 1 => drop(open.insert(self.payer, count.saturating_sub(1))),
            _ => drop(open.remove(&self.payer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_gets_them_back() {
        let connections = Connections::new(2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = connections.open(one).unwrap();
        let second = connections.open(one).unwrap();
        assert_eq!(connections.open(one).unwrap_err(), TooMany);
        let third = connections.open(other).unwrap();
        drop(first);
        let fourth = connections.open(one).unwrap();
        assert!(connections.open(one).is_err());
        drop((second, third, fourth));
        assert!(connections.open.lock().unwrap().is_empty(), "nothing stays behind");
        assert!(Connections::new(0).open(one).unwrap().is_none());
    }
}
