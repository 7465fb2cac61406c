//! Multicast DNS on the interfaces that the settings allow (RFC 6762). One task for each interface, with a socket that is bound to it
//! and to the group's address: what is sent leaves there only, and nothing that was routed here comes in.

use super::{
    dns::{MAX_MESSAGE_BYTES, Message},
    heard::{Candidate, Heard, Link},
    service::{Announcement, Asked},
};
use crate::{
    guard::NetworkKey,
    types::{SharedClock, is_private},
};
use ipnet::IpNet;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// How often it is looked whether the machine has other interfaces or addresses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// RFC 6762 section 6: the same is not said more often than this, whoever asks.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// RFC 6762 section 6: many who answer the same question do not speak at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_RANGE_MILLIS: u64 = 100;
/// The most answers to single askers within [`SAY_EVERY`].
const MOST_TO_SINGLE: u32 = 16;

/// Multicast DNS of one instance.
#[derive(Debug)]
pub(super) struct Mdns {
    /// Which interfaces; none: all that have a private address and are not loopback.
    interfaces: Vec<String>,
    /// What we say of ourselves now.
    announcement: watch::Sender<Option<Arc<Announcement>>>,
    /// Where we listen: only such addresses are told.
    listen: IpAddr,
    clock: SharedClock,
    network: Option<NetworkKey>,
    heard: Mutex<Heard>,
    asking: watch::Sender<()>,
}

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    link: Link,
    index: u32,
    addresses: Vec<IpAddr>,
}

impl Interface {
    fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
}

impl Mdns {
    pub(super) fn new(
        interfaces: Vec<String>,
        announcement: Option<Announcement>,
        listen: IpAddr,
        (clock, network): (SharedClock, Option<NetworkKey>),
    ) -> Self {
        let asking = watch::Sender::new(());
        let announcement = watch::Sender::new(announcement.map(Arc::new));
        Self { interfaces, announcement, listen, clock, network, heard: Mutex::default(), asking }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something else of us from now on, and takes back what was said before.
    pub(super) fn announce(&self, announcement: Option<Announcement>) {
        self.announcement.send_replace(announcement.map(Arc::new));
    }

    /// Asks on every link who is there.
    pub(super) fn ask(&self) {
        self.asking.send_replace(());
    }

    /// Who was heard, of our network.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut heard = self.heard().candidates(self.clock.elapsed());
        heard.retain(|candidate| candidate.description.is_of(self.network.as_ref(), self.clock.now()));
        heard
    }

    /// Speaks and listens until `closing`, then says that we are gone.
    pub(super) async fn run(self: Arc<Self>, closing: CancellationToken) {
        // Dropped and so ended with this function.
        let mut tasks = JoinSet::new();
        let mut links: BTreeMap<String, (Interface, CancellationToken)> = BTreeMap::new();
        let mut looks = interval(LOOK_EVERY);
        let mut missing = Vec::new();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                Some(ended) = tasks.join_next() => {
                    // One whose interface went away is opened again when it is back.
                    if let Ok(name) = ended {
                        links.remove(&name);
                    }
                    continue;
                }
                () = closing.cancelled() => break,
            }
            let now = match self.interfaces() {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(%error, "this machine's interfaces cannot be read");
                    continue;
                }
            };
            let absent = self.interfaces.iter().filter(|name| !now.iter().any(|it| it.link.name == **name));
            let absent: Vec<&String> = absent.collect();
            if absent != missing && !absent.is_empty() {
                tracing::warn!(interfaces = ?absent, "no multicast DNS there: not up, or without a private IPv4 address");
            }
            missing = absent;
            for (interface, stop) in links.values() {
                if !now.contains(interface) {
                    stop.cancel();
                }
            }
            for interface in now {
                let name = interface.link.name.clone();
                // One that has changed ends first, and is opened when it is looked again.
                if links.contains_key(&name) {
                    continue;
                }
                match open(&interface) {
                    Ok(socket) => {
                        tracing::info!(interface = name, "multicast DNS");
                        let stop = closing.child_token();
                        links.insert(name, (interface.clone(), stop.clone()));
                        tasks.spawn(Arc::clone(&self).serve(interface, socket, stop));
                    }
                    Err(error) => tracing::warn!(interface = name, %error, "no multicast DNS here"),
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// The interfaces that may be used and have an address, by name.
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut found: BTreeMap<String, Interface> = BTreeMap::new();
        for part in if_addrs::get_if_addrs()? {
            let wanted = match self.interfaces.as_slice() {
                [] => !part.is_loopback() && !part.is_p2p(),
                named => named.contains(&part.name),
            };
            let (address, up) = (part.ip(), part.is_oper_up() || part.is_loopback());
            let (Some(index), true) = (part.index, wanted && up && is_private(address)) else { continue };
            let bits = match &part.addr {
                if_addrs::IfAddr::V4(it) => it.prefixlen,
                if_addrs::IfAddr::V6(it) => it.prefixlen,
            };
            let Ok(network) = IpNet::new(address, bits) else { continue };
            let interface = found.entry(part.name.clone()).or_insert_with(|| Interface {
                link: Link { name: part.name.clone(), networks: Vec::new() },
                index,
                addresses: Vec::new(),
            });
            interface.link.networks.push(network);
            interface.addresses.push(address);
        }
        Ok(found.into_values().filter(|interface| interface.v4().is_some()).collect())
    }

    /// One link, until `stop`. Answers its name.
    async fn serve(self: Arc<Self>, interface: Interface, socket: UdpSocket, stop: CancellationToken) -> String {
        let name = interface.link.name.clone();
        let told = interface.addresses.iter().filter(|it| self.listen.is_unspecified() || self.listen == **it);
        let addresses: Vec<IpAddr> = told.copied().collect();
        // Where nobody can reach us we listen only.
        let can_be_reached = !addresses.is_empty();
        let mut announcements = self.announcement.subscribe();
        let announcement = announcements.borrow_and_update().clone().filter(|_| can_be_reached);
        let member = self.network.as_ref().map(|network| (network, &self.clock));
        let mut asking = self.asking.subscribe();
        let (said, due) = (None, None);
        let mut speaker = Speaker { socket, announcement, member, addresses: &addresses, said, due, singles: 0 };
        // Said twice: once may be lost (RFC 6762 section 8.3).
        speaker.announce().await;
        speaker.due = Some((Instant::now() + SAY_EVERY, Asked::Us));
        let questions = self.heard().questions(&name);
        speaker.say(&questions).await;
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        loop {
            let due = speaker.due.map(|(at, _)| at);
            tokio::select! {
                () = stop.cancelled() => break,
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    speaker.answer().await;
                }
                Ok(()) = announcements.changed() => {
                    speaker.withdraw().await;
                    speaker.announcement = announcements.borrow_and_update().clone().filter(|_| can_be_reached);
                    speaker.announce().await;
                    speaker.due = Some((Instant::now() + SAY_EVERY, Asked::Us));
                }
                Ok(()) = asking.changed() => {
                    let questions = self.heard().questions(&name);
                    speaker.say(&questions).await;
                }
                received = speaker.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => {
                        if let Some(message) = buffer.get(..length).and_then(Message::read) {
                            self.take(&message, &interface.link, from, &mut speaker).await;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(interface = name, %error, "no multicast DNS any more");
                        return name;
                    }
                },
            }
        }
        speaker.withdraw().await;
        name
    }

    async fn take(&self, message: &Message, link: &Link, from: SocketAddr, speaker: &mut Speaker<'_>) {
        if message.response {
            let own = speaker.announcement.as_ref().map(|it| &it.instance);
            // From another port it is no answer (RFC 6762 section 6).
            if from.port() == PORT {
                self.heard().take(message, link, from.ip(), own, self.clock.elapsed());
            }
            return;
        }
        let asked = speaker.announcement.as_ref().and_then(|announcement| announcement.asked(message));
        let Some(asked) = asked.filter(|_| link.holds(from.ip())) else { return };
        if from.port() == PORT {
            speaker.schedule(asked);
        } else {
            speaker.answer_one(message, asked, from).await;
        }
    }
}

/// Says what is to be said on one link, and not too often.
struct Speaker<'a> {
    socket: UdpSocket,
    announcement: Option<Arc<Announcement>>,
    member: Option<(&'a NetworkKey, &'a SharedClock)>,
    addresses: &'a [IpAddr],
    said: Option<Instant>,
    due: Option<(Instant, Asked)>,
    /// How many single askers were answered since `said`.
    singles: u32,
}

impl Speaker<'_> {
    async fn say(&self, message: &Message) {
        // Lost messages are part of the protocol; an interface that is gone shows when it is read from.
        let _lost = self.socket.send_to(&message.write(), SocketAddrV4::new(GROUP, PORT)).await;
    }

    /// With what our network shows now.
    fn current<'b>(&self, announcement: &'b Announcement) -> Cow<'b, Announcement> {
        match self.member {
            Some((network, clock)) => Cow::Owned(announcement.of_network(network, clock.now())),
            None => Cow::Borrowed(announcement),
        }
    }

    async fn announce(&mut self) {
        if let Some(announcement) = &self.announcement {
            self.say(&self.current(announcement).told(self.addresses)).await;
            self.said = Some(Instant::now());
        }
    }

    async fn withdraw(&self) {
        if let Some(announcement) = &self.announcement {
            self.say(&announcement.withdrawn(self.addresses)).await;
        }
    }

    fn schedule(&mut self, asked: Asked) {
        let soon = Instant::now() + pause();
        let at = self.said.map_or(soon, |said| soon.max(said + SAY_EVERY));
        self.due = Some(match self.due {
            // Both at once: who we are says which kind we are of, too, in effect.
            Some((due, before)) => (due, if before == Asked::Us { before } else { asked }),
            None => (at, asked),
        });
    }

    async fn answer(&mut self) {
        let Some((_, asked)) = self.due.take() else { return };
        match (asked, &self.announcement) {
            (Asked::Us, _) => self.announce().await,
            (Asked::Kinds, Some(announcement)) => {
                self.say(&announcement.kinds_told()).await;
                self.said = Some(Instant::now());
            }
            (Asked::Kinds, None) => {}
        }
    }

    /// Answers somebody who asks as one asks a DNS server.
    async fn answer_one(&mut self, message: &Message, asked: Asked, to: SocketAddr) {
        let Some(announcement) = self.announcement.clone() else { return };
        if self.said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
            (self.said, self.singles) = (Some(Instant::now()), 0);
        }
        if self.singles >= MOST_TO_SINGLE {
            return;
        }
        self.singles = self.singles.saturating_add(1);
        let told = self.current(&announcement).told_to_one(message, asked, self.addresses);
        let _lost = self.socket.send_to(&told.write(), to).await;
    }
}

fn pause() -> Duration {
    let mut random = [0; 1];
    // Without randomness all speak at once, which works too.
    let _ = getrandom::fill(&mut random);
    let [random] = random;
    SHORTEST_PAUSE + Duration::from_millis(u64::from(random) * PAUSE_RANGE_MILLIS / 255)
}

/// A socket that sends to and hears the group on this interface only.
fn open(interface: &Interface) -> io::Result<UdpSocket> {
    let address = interface.v4().ok_or_else(|| io::Error::other("it has no IPv4 address"))?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Others on this machine speak multicast DNS too.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.bind_device(Some(interface.link.name.as_bytes()))?;
        socket.set_multicast_all_v4(false)?;
    }
    socket.bind(&SocketAddr::from((GROUP, PORT)).into())?;
    socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(interface.index))?;
    socket.set_multicast_if_v4(&address)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_ttl_v4(255)?;
    socket.set_multicast_loop_v4(true)?;
    UdpSocket::from_std(socket.into())
}
