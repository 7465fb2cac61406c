//! What was heard on the links. Anybody there may say anything, any number of times: what is kept is bounded in number and time, and
//! nothing leads away from the link that it was heard on.

use super::{
    dns::{A, Data, Message, Name, PTR, Question, Record, SRV, TXT},
    service::{Description, service_type},
};
use crate::types::is_private;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// The most instances that are kept, in all and of one sender.
const MAX_SERVICES: usize = 256;
const MAX_SERVICES_OF_ONE: usize = 16;
const MAX_ADDRESSES: usize = 4;
/// Nothing is believed for longer without being said again.
const LONGEST: Duration = Duration::from_secs(120);
/// The most names that are asked for in one message.
const MAX_QUESTIONS: usize = 16;

/// The network that an interface is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) networks: Vec<IpNet>,
}

impl Link {
    /// Whether an address may be that of a neighbour.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        is_private(address) && self.networks.iter().any(|network| network.contains(&address))
    }
}

#[derive(Debug)]
struct Service {
    /// The link, and who said it first: nobody else adds to it.
    from: (String, IpAddr),
    until: Duration,
    server: Option<(u16, Name)>,
    description: Option<Description>,
    addresses: BTreeSet<IpAddr>,
}

/// Somebody who says that he is an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) description: Description,
    /// Where to ask him; at least one.
    pub(super) urls: Vec<String>,
}

/// Everybody who was heard and has not fallen silent.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<Name, Service>);

impl Heard {
    /// Takes what `from` says on `link` at the time `now`. `own`: our own name, which is not another instance.
    pub(super) fn take(&mut self, message: &Message, link: &Link, from: IpAddr, own: Option<&Name>, now: Duration) {
        self.0.retain(|_, service| service.until > now);
        let Some(kind) = service_type() else { return };
        // RFC 6762 section 11: who is not on the link does not count.
        if !message.response || !link.holds(from) {
            return;
        }
        let speaker = (link.name.clone(), from);
        for Record { name, ttl_seconds, data, .. } in &message.records {
            if let Data::Ptr(instance) = data
                && *name == kind
                && instance.is_child_of(&kind)
                && Some(instance) != own
            {
                self.name(instance, &speaker, *ttl_seconds, now);
            }
        }
        for Record { name, data, .. } in &message.records {
            let Some(service) = self.0.get_mut(name).filter(|service| service.from == speaker) else { continue };
            match data {
                Data::Srv { port, target } => service.server = Some((*port, target.clone())),
                Data::Txt(strings) => service.description = Description::read(strings),
                Data::Ptr(_) | Data::Address(_) => {}
            }
        }
        for Record { name, data, .. } in &message.records {
            let Data::Address(address) = data else { continue };
            if !link.holds(*address) {
                continue;
            }
            for service in self.0.values_mut().filter(|service| service.from == speaker) {
                if service.server.as_ref().is_some_and(|(_, host)| host == name)
                    && service.addresses.len() < MAX_ADDRESSES
                {
                    service.addresses.insert(*address);
                }
            }
        }
    }

    fn name(&mut self, instance: &Name, speaker: &(String, IpAddr), ttl_seconds: u32, now: Duration) {
        let of_speaker = self.0.values().filter(|service| service.from == *speaker).count();
        let room = self.0.len() < MAX_SERVICES && of_speaker < MAX_SERVICES_OF_ONE;
        let until = now.saturating_add(Duration::from_secs(ttl_seconds.into()).min(LONGEST));
        match self.0.get_mut(instance) {
            Some(service) if service.from != *speaker => {}
            Some(_) if ttl_seconds == 0 => drop(self.0.remove(instance)),
            Some(service) => service.until = until,
            None if ttl_seconds > 0 && room => {
                let (from, addresses) = (speaker.clone(), BTreeSet::new());
                let service = Service { from, until, server: None, description: None, addresses };
                self.0.insert(instance.clone(), service);
            }
            None => {}
        }
    }

    /// What to ask on a link: who is there, and what is missing of those who are.
    pub(super) fn questions(&self, link: &str) -> Message {
        let mut questions: Vec<Question> =
            service_type().into_iter().map(|name| Question { name, kind: PTR }).collect();
        for (name, service) in self.0.iter().filter(|(_, service)| service.from.0 == link) {
            let mut ask = |name: &Name, kind| questions.push(Question { name: name.clone(), kind });
            if service.server.is_none() {
                ask(name, SRV);
            }
            if service.description.is_none() {
                ask(name, TXT);
            }
            if let Some((_, host)) = service.server.as_ref().filter(|_| service.addresses.is_empty()) {
                ask(host, A);
            }
        }
        questions.truncate(MAX_QUESTIONS);
        Message { questions, ..Message::default() }
    }

    /// Those of whom everything is known, at the time `now`.
    pub(super) fn candidates(&self, now: Duration) -> Vec<Candidate> {
        let complete = self.0.values().filter(|service| service.until > now).filter_map(|service| {
            let description = service.description.clone()?;
            let (port, _) = service.server.as_ref()?;
            let url = |address: &IpAddr| url(*address, *port, &description);
            let urls: Vec<String> = service.addresses.iter().map(url).collect();
            (!urls.is_empty()).then_some(Candidate { description, urls })
        });
        complete.collect()
    }
}

fn url(address: IpAddr, port: u16, description: &Description) -> String {
    super::url(description.tls, address, port, &description.base_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        federation::lan::service::Announcement,
        types::{BasePath, PeerId, PublicKey},
    };

    const NOW: Duration = Duration::from_secs(1000);

    fn link() -> Link {
        Link {
            name: "eth0".to_owned(),
            networks: vec!["192.168.1.2/24".parse().unwrap(), "8.8.8.1/24".parse().unwrap()],
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn announcement(nth: u8) -> Announcement {
        let key = PublicKey::from_bytes([nth; 32]);
        let description = Description {
            node_id: Some(PeerId::parse(&format!("ark-{nth}")).unwrap()),
            public_key: Some(key),
            instance_type: None,
            base_path: BasePath::parse("/ark").unwrap(),
            tls: nth == 2,
            network: None,
        };
        Announcement::of(&description, &key, 9000 + u16::from(nth)).unwrap()
    }

    fn urls(heard: &Heard, now: Duration) -> Vec<String> {
        heard.candidates(now).into_iter().flat_map(|it| it.urls).collect()
    }

    #[test]
    fn an_instance_is_heard_until_it_says_that_it_goes_or_falls_silent() {
        let (link, ours) = (link(), announcement(1));
        let addresses = [ip("192.168.1.7")];
        let mut heard = Heard::default();
        heard.take(&ours.told(&addresses), &link, ip("192.168.1.7"), None, NOW);
        assert_eq!(urls(&heard, NOW), ["http://192.168.1.7:9001/ark"]);
        assert_eq!(urls(&heard, NOW + LONGEST), [""; 0], "whatever the record says");
        heard.take(&ours.withdrawn(&addresses), &link, ip("192.168.1.8"), None, NOW);
        assert_eq!(urls(&heard, NOW).len(), 1, "only he says that he goes");
        heard.take(&ours.withdrawn(&addresses), &link, ip("192.168.1.7"), None, NOW);
        assert_eq!(urls(&heard, NOW), [""; 0]);
        heard.take(&ours.told(&addresses), &link, ip("192.168.1.7"), Some(&ours.instance), NOW);
        assert_eq!(urls(&heard, NOW), [""; 0], "ourselves");
    }

    #[test]
    fn nothing_leads_away_from_the_link() {
        let (link, theirs) = (link(), announcement(2));
        let mut heard = Heard::default();
        let poison = ["127.0.0.1", "8.8.8.8", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "192.168.2.1"].map(ip);
        heard.take(&theirs.told(&poison), &link, ip("192.168.1.9"), None, NOW);
        assert_eq!(urls(&heard, NOW), [""; 0]);
        for outside in ["8.8.8.8", "192.168.2.1", "127.0.0.1"] {
            heard.take(&theirs.told(&[ip("192.168.1.9")]), &link, ip(outside), None, NOW);
        }
        assert_eq!(urls(&heard, NOW), [""; 0]);
        heard.take(&theirs.told(&[ip("192.168.1.9")]), &link, ip("192.168.1.9"), None, NOW);
        assert_eq!(urls(&heard, NOW), ["https://192.168.1.9:9002/ark"]);
        // Nobody else changes where he is.
        heard.take(&theirs.told(&[ip("192.168.1.66")]), &link, ip("192.168.1.66"), None, NOW);
        assert_eq!(urls(&heard, NOW), ["https://192.168.1.9:9002/ark"]);
    }

    #[test]
    fn a_flood_fills_no_memory_and_leaves_room_for_others() {
        let link = link();
        let mut heard = Heard::default();
        for nth in 0..200 {
            let many: Vec<IpAddr> = (10..60).map(|it| IpAddr::from([192, 168, 1, it])).collect();
            heard.take(&announcement(nth).told(&many), &link, ip("192.168.1.66"), None, NOW);
        }
        assert_eq!(
            (heard.0.len(), urls(&heard, NOW).len()),
            (MAX_SERVICES_OF_ONE, MAX_SERVICES_OF_ONE * MAX_ADDRESSES)
        );
        heard.take(&announcement(201).told(&[ip("192.168.1.7")]), &link, ip("192.168.1.7"), None, NOW);
        assert_eq!(heard.0.len(), MAX_SERVICES_OF_ONE + 1);
        for from in 0..=255_u8 {
            for nth in [from, from.wrapping_add(1)] {
                heard.take(&announcement(nth).told(&[]), &link, IpAddr::from([192, 168, 1, from]), None, NOW);
            }
        }
        assert!(heard.0.len() <= MAX_SERVICES);
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let (link, theirs) = (link(), announcement(1));
        let mut heard = Heard::default();
        let kinds = |heard: &Heard| heard.questions("eth0").questions.iter().map(|it| it.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&heard), [PTR]);
        let all = theirs.told(&[ip("192.168.1.7")]);
        let part = |count: usize| Message { records: all.records[..count].to_vec(), ..all.clone() };
        heard.take(&part(1), &link, ip("192.168.1.7"), None, NOW);
        assert_eq!(kinds(&heard), [PTR, SRV, TXT]);
        heard.take(&part(3), &link, ip("192.168.1.7"), None, NOW);
        assert_eq!(kinds(&heard), [PTR, A]);
        assert_eq!(heard.questions("eth1").questions.len(), 1);
        heard.take(&all, &link, ip("192.168.1.7"), None, NOW);
        assert_eq!(kinds(&heard), [PTR]);
    }
}
