//! Instances that find each other: real sockets in networks of their own, from which no packet gets out.

use crate::{
    bed::{Instance, provider, until},
    keys::rotated,
    machine::{Machine, ip, packets_sent, udp_sockets},
    odd_neighbours::{another_way, answering, endless, silent},
};
use ark_lattice::{
    federation::{
        client::Client,
        lan::{Found, Lan, LanError, Search, Via},
    },
    manifest::{Canonicalization, sign},
    ops::Named,
    settings::Settings,
    types::{Clock, ScanSubnets},
};
use bytes::Bytes;
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use socket2::{Domain, Socket, Type};
use std::{net::SocketAddr, sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

fn lan(instance: &Instance) -> Arc<Lan> {
    Arc::clone(instance.context.lan.as_ref().unwrap())
}

async fn found_by(instance: &Instance) -> Vec<Found> {
    lan(instance).discover(Search::default()).await.unwrap()
}

/// That is all, and that is it.
fn is_found(found: &[Found], other: &Instance, via: Via) -> bool {
    let key = other.key.public_key().to_base64();
    found.len() == 1
        && found[0].url == other.url
        && (found[0].node_id.as_deref(), found[0].public_key.as_deref()) == (Some(other.name), Some(key.as_str()))
        && found[0].via == via
}

fn mdns_on(interface: &'static str, host: &'static str) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.server.host = host.to_owned();
        settings.discovery.interfaces = vec![interface.to_owned()];
    }
}

fn scanning(host: &'static str, subnets: &'static [&'static str]) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.server.host = host.to_owned();
        settings.server.port = 9001;
        settings.discovery.scan_subnets = subnets.iter().map(ToString::to_string).collect();
    }
}

#[tokio::test]
async fn two_machines_find_each_other_and_say_goodbye() {
    provider();
    let (here, there) = Machine::two().await;
    let one = here.run(async || Instance::start_with("one", mdns_on("cable", "10.77.0.1")).await).await;
    let two = there.run(async || Instance::start_with("two", mdns_on("cable", "0.0.0.0")).await).await;
    let url_of_two = two.url.replace("0.0.0.0", "10.77.0.2");
    let (one, two) = here
        .run(async move || {
            until("two is found", async || {
                let found = found_by(&one).await;
                found.len() == 1 && found[0].url == url_of_two && found[0].public_key.is_some()
            })
            .await;
            (one, two)
        })
        .await;
    let (one, two) = there
        .run(async move || {
            until("one is found", async || is_found(&found_by(&two).await, &one, Via::Mdns)).await;
            (one, two)
        })
        .await;
    there.run(async move || two.stop().await).await;
    here.run(async move || {
        assert_eq!(lan(&one).suggestions().len(), 1, "of the search before");
        // One search, at once: it said that it goes.
        assert_eq!(found_by(&one).await, []);
        one.stop().await;
    })
    .await;
}

#[tokio::test]
async fn another_implementation_and_ours_understand_each_other() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            let ours = Instance::start_with("ours", mdns_on("lo", "127.0.0.1")).await;
            let plain = Instance::start("plain").await;
            let daemon = ServiceDaemon::new().unwrap();
            daemon.disable_interface(IfKind::IPv6).unwrap();
            let events = daemon.browse("_ark-lattice._tcp.local.").unwrap();
            let mut resolved = None;
            until("ours is resolved", async || {
                while let Ok(event) = events.try_recv() {
                    if let ServiceEvent::ServiceResolved(service) = event {
                        resolved = Some(service);
                    }
                }
                resolved.is_some()
            })
            .await;
            let service = resolved.unwrap();
            assert_eq!(format!("http://127.0.0.1:{}", service.port), ours.url);
            assert!(service.addresses.iter().any(|address| address.to_string() == "127.0.0.1"), "{service:?}");
            let said = |key: &str| service.txt_properties.get_property_val_str(key).unwrap().to_owned();
            let key = ours.key.public_key().to_base64();
            assert_eq!(
                (said("id"), said("key"), said("type"), said("v")),
                ("ours".into(), key, "local".into(), "1".into())
            );

            // What somebody else's program says of an instance that says nothing itself.
            let port = plain.url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
            let txt = [("v", "1"), ("type", "pi")];
            let info =
                ServiceInfo::new("_ark-lattice._tcp.local.", "By another", "h.local.", "127.0.0.1", port, &txt[..]);
            let info = info.unwrap();
            let name = info.get_fullname().to_owned();
            daemon.register(info).unwrap();
            until("plain is found", async || {
                let found = found_by(&ours).await;
                // Of what kind it is it says itself, whatever another says of it.
                is_found(&found, &plain, Via::Mdns) && found[0].instance_type == Some("local")
            })
            .await;
            let gone = daemon.unregister(&name).unwrap();
            until("its farewell is said", async || gone.try_recv().is_ok()).await;
            until("plain is forgotten", async || found_by(&ours).await.is_empty()).await;

            ours.stop().await;
            until("ours is gone", async || {
                let mut gone = false;
                while let Ok(event) = events.try_recv() {
                    gone |= matches!(event, ServiceEvent::ServiceRemoved(..));
                }
                gone
            })
            .await;
            plain.stop().await;
            let stopped = daemon.shutdown().unwrap();
            until("the daemon stops", async || stopped.try_recv().is_ok()).await;
        })
        .await;
}

#[tokio::test]
async fn a_key_that_takes_the_place_of_another_is_told_of_without_a_restart() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            let ours = Instance::start_with("ours", mdns_on("lo", "127.0.0.1")).await;
            let daemon = ServiceDaemon::new().unwrap();
            daemon.disable_interface(IfKind::IPv6).unwrap();
            let events = daemon.browse("_ark-lattice._tcp.local.").unwrap();
            let old = ours.key.public_key().to_base64();
            let (mut told, mut taken_back) = (Vec::new(), false);
            let mut listen = || {
                while let Ok(event) = events.try_recv() {
                    match event {
                        ServiceEvent::ServiceResolved(service) => {
                            told.push(service.txt_properties.get_property_val_str("key").unwrap().to_owned());
                        }
                        ServiceEvent::ServiceRemoved(..) => taken_back = true,
                        _ => {}
                    }
                }
                (told.last().cloned(), taken_back)
            };
            until("ours is resolved", async || listen() == (Some(old.clone()), false)).await;
            let new = rotated(&ours).await.key.public_key().to_base64();
            until("the new key is told and the old one is taken back", async || listen() == (Some(new.clone()), true))
                .await;
            ours.stop().await;
            let stopped = daemon.shutdown().unwrap();
            until("the daemon stops", async || stopped.try_recv().is_ok()).await;
        })
        .await;
}

#[tokio::test]
async fn nothing_is_sent_until_somebody_turns_it_on_and_then_only_where_he_says() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            ip("link add cable type veth peer name other");
            for end in ["cable", "other"] {
                ip(&format!("link set {end} up"));
            }
            ip("address add 192.168.5.1/24 dev cable");
            let sent = || ["cable", "other", "lo"].map(packets_sent);
            let before = sent();
            let quiet = Instance::start_with("quiet", |settings| settings.server.host = "0.0.0.0".to_owned()).await;
            assert!(!lan(&quiet).is_on());
            assert_eq!(found_by(&quiet).await, []);
            assert_eq!((sent(), udp_sockets()), (before, 0), "by default");
            quiet.stop().await;

            let one = Instance::start_with("one", mdns_on("lo", "127.0.0.1")).await;
            let two = Instance::start_with("two", mdns_on("lo", "127.0.0.1")).await;
            until("two is found", async || is_found(&found_by(&one).await, &two, Via::Mdns)).await;
            assert_eq!(sent()[..2], before[..2], "on loopback only");
            assert!(sent()[2] > before[2]);
            for instance in [one, two] {
                instance.stop().await;
            }

            // What was counted can be counted.
            let loud = Instance::start_with("loud", |settings| {
                settings.server.host = "0.0.0.0".to_owned();
                settings.discovery.mdns = true;
            });
            let loud = loud.await;
            until("something is said", async || sent()[0] > before[0]).await;
            loud.stop().await;
        })
        .await;
}

#[tokio::test]
async fn a_search_finds_instances_among_all_kinds_of_things() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            let two = Instance::start_with("two", scanning("127.0.0.2", &[])).await;
            let three = Instance::start_with("three", scanning("127.0.0.3", &[])).await;
            let outside = Instance::start_with("outside", scanning("127.0.0.40", &[])).await;
            let one = Instance::start_with("one", scanning("127.0.0.1", &["127.0.0.0/28"])).await;
            let silent = silent("127.0.0.5:9001").await;
            let endless = endless("127.0.0.6:9001").await;
            let led_to = answering("127.0.0.50:80", String::new()).await;
            let redirect = |to: &str| format!("HTTP/1.1 307 Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            answering("127.0.0.7:9001", redirect("http://127.0.0.50/lattice/head")).await;
            answering("127.0.0.8:9001", redirect(&format!("{}/lattice/head", outside.url))).await;
            answering("127.0.0.9:9001", "\u{1b}[2J no HTTP at all\r\n\r\n".to_owned()).await;
            let body = r#"{"payload":"e30=","payloadType":"x","signatures":[]}"#;
            let unsigned = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            answering("127.0.0.10:9001", unsigned).await;
            let address = two.url.trim_start_matches("http://").parse().unwrap();
            let second_way = another_way("127.0.0.11:9001", address).await;

            let found = found_by(&one).await;
            let urls: Vec<&str> = found.iter().map(|it| it.url.as_str()).collect();
            assert_eq!(urls, [three.url.as_str(), two.url.as_str()], "in order of their ids");
            assert!(is_found(&found[..1], &three, Via::Scan) && is_found(&found[1..], &two, Via::Scan), "{found:?}");
            assert!(found.iter().all(|it| !it.known && !it.accepted));
            let asked = [&silent, &endless, &second_way, &led_to].map(|it| it.all() > 0);
            assert_eq!(asked, [true, true, true, false], "all were asked, and nobody led anywhere else");
            until("it is hung up on whoever does not end", async || endless.now() == 0 && silent.now() == 0).await;

            // Who accepts has peers; once.
            let accept = || Search { accept: Some(Named::Yes), ..Search::default() };
            let subnets = Some(ScanSubnets::parse(["127.0.0.3"]).unwrap());
            let found = lan(&one).discover(Search { subnets, ..accept() }).await.unwrap();
            assert!(is_found(&found, &three, Via::Scan) && found[0].accepted && !found[0].known, "{found:?}");
            let peers = |of: &Instance| {
                let peers = of.context.engine.as_ref().unwrap().peers();
                peers.into_iter().map(|peer| peer.url).collect::<Vec<_>>()
            };
            assert_eq!(peers(&one), [three.url.as_str()]);
            let found = lan(&one).discover(accept()).await.unwrap();
            let states: Vec<_> = found.iter().map(|it| (it.known, it.accepted)).collect();
            assert_eq!(states, [(true, false), (false, true)]);
            assert_eq!(peers(&one), [two.url.clone(), three.url.clone()]);
            assert_eq!(lan(&one).suggestions(), found);

            for wanted in ["127.0.0.40", "10.0.0.1", "127.0.0.0/27"] {
                let subnets = Some(ScanSubnets::parse([wanted]).unwrap());
                let refused = lan(&one).discover(Search { subnets, ..Search::default() }).await;
                assert!(matches!(refused, Err(LanError::Subnet(_))), "{wanted}");
            }
            for instance in [one, two, three, outside] {
                instance.stop().await;
            }
        })
        .await;
}

#[tokio::test]
async fn so_many_addresses_are_asked_at_the_same_time_and_no_more() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            // Every address of 127.0.0.0/8 is this one's.
            let silent = silent("0.0.0.0:9002").await;
            let one = Instance::start_with("one", |settings| {
                scanning("127.0.0.1", &["127.0.1.0/25"])(settings);
                settings.discovery.scan_port = 9002;
            })
            .await;
            // Behind the second of these, the search that it makes by itself is done.
            for _ in 0..2 {
                let subnets = Some(ScanSubnets::parse(["127.0.1.1"]).unwrap());
                assert_eq!(lan(&one).discover(Search { subnets, ..Search::default() }).await.unwrap(), []);
            }
            until("each address was asked once in each search", async || silent.all() == 126 + 2).await;
            assert!(silent.most() > 1);
            // Shorter than anybody is waited for: whoever was asked is asked still, and for nobody else there was a place.
            let short = Search { timeout: SECOND, ..Search::default() };
            assert_eq!(lan(&one).discover(short).await.unwrap(), []);
            let asked = silent.all() - 126 - 2;
            assert!((2..=64).contains(&asked), "{asked}");
            one.stop().await;
        })
        .await;
}

#[tokio::test]
async fn who_accepts_everybody_is_in_step_without_a_word() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            let two = Instance::start_with("two", scanning("127.0.0.2", &[])).await;
            two.put("told", "to whoever comes").await;
            let one = Instance::start_with("one", |settings| {
                scanning("127.0.0.1", &["127.0.0.2"])(settings);
                settings.discovery.accept = true;
                settings.federation.auto_sync = true;
            })
            .await;
            until("the node came", async || one.content("told").await.as_deref() == Some("to whoever comes")).await;
            for instance in [one, two] {
                instance.stop().await;
            }
        })
        .await;
}

#[tokio::test]
async fn who_registered_is_shown_but_never_called() {
    provider();
    let machine = Machine::start().await;
    machine
        .run(async || {
            let trap = answering("127.0.0.9:80", String::new()).await;
            let one = Instance::start("one").await;
            let two = Instance::start("two").await;
            let manifest = serde_json::json!({
                "node_id": "two", "instance_type": "cloud", "last_updated": two.clock.now().seconds(),
                "address": "http://127.0.0.9/",
            });
            let (limits, key) = (one.context.limits, &two.key);
            let text = Bytes::from(manifest.to_string());
            let envelope = sign(text, Canonicalization::Dsse, &limits, key.public_key(), |bytes| key.sign(bytes));
            Client::new(&one.url, &limits).unwrap().publish(envelope.unwrap()).await.unwrap();
            let found = lan(&one).discover(Search { accept: Some(Named::Yes), ..Search::default() }).await.unwrap();
            let shown = found.iter().map(|it| (it.url.as_str(), it.node_id.as_deref(), it.via, it.accepted));
            assert_eq!(shown.collect::<Vec<_>>(), [("http://127.0.0.9", Some("two"), Via::Registry, false)]);
            assert_eq!((found[0].instance_type, trap.all()), (Some("cloud"), 0));
            for instance in [one, two] {
                instance.stop().await;
            }
        })
        .await;
}

/// A DNS message of these records: name, kind, content.
fn dns_answer(records: &[(&[u8], u16, Vec<u8>)]) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0];
    for (name, kind, content) in records {
        message.extend(*name);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0x11, 0x94]);
        message.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        message.extend(content);
    }
    message
}

#[tokio::test]
async fn a_liar_on_the_network_leads_nobody_away_from_it() {
    const SERVICE: &[u8] = b"\x0c_ark-lattice\x04_tcp\x05local\x00";
    const INSTANCE: &[u8] = b"\x04liar\x0c_ark-lattice\x04_tcp\x05local\x00";
    const HOST: &[u8] = b"\x04liar\x05local\x00";
    provider();
    let (here, there) = Machine::two().await;
    // Where he wants it to go: its own machine's loopback, another network, a public address.
    let traps = here
        .run(async || {
            ip("link add away type veth peer name far");
            ip("address add 10.78.0.1/24 dev away");
            ip("address add 8.8.8.8/32 dev away");
            ip("link set away up");
            [silent("127.0.0.1:7000").await, silent("10.78.0.1:7000").await, silent("8.8.8.8:7000").await]
        })
        .await;
    let one = here.run(async || Instance::start_with("one", mdns_on("cable", "10.77.0.1")).await).await;
    let itself = there.run(async || silent("10.77.0.2:7000").await).await;
    let speaker = there
        .run(async || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.bind(&"10.77.0.2:5353".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket.set_multicast_if_v4(&"10.77.0.2".parse().unwrap()).unwrap();
            std::net::UdpSocket::from(socket)
        })
        .await;
    let say = async |message: Vec<u8>| {
        let speaker = speaker.try_clone().unwrap();
        there.run(async move || speaker.send_to(&message, "224.0.0.251:5353").map(drop)).await.unwrap();
    };
    let port = [&[0; 4], 7000_u16.to_be_bytes().as_slice(), HOST].concat();
    let mut lie = vec![
        (SERVICE, 12, INSTANCE.to_vec()),
        (INSTANCE, 33, port),
        (INSTANCE, 16, b"\x03v=1\x0fid=\x1b[2Jone\x1b[31m".to_vec()),
    ];
    lie.extend([[127, 0, 0, 1], [10, 78, 0, 1], [8, 8, 8, 8], [10, 77, 0, 2]].map(|it| (HOST, 1, it.to_vec())));
    // With an id that would colour a terminal he is nobody; without, he is asked at his own address.
    say(dns_answer(&lie)).await;
    for nth in 0..200_u8 {
        say([&dns_answer(&lie)[..usize::from(nth)], &[nth; 50]].concat()).await;
    }
    let one = here
        .run(async move || {
            assert_eq!(found_by(&one).await, []);
            one
        })
        .await;
    assert_eq!(itself.all(), 0);
    lie[2].2 = b"\x03v=1\x06type=\x07".to_vec();
    say(dns_answer(&lie)).await;
    let found = here
        .run(async move || {
            let found = found_by(&one).await;
            one.stop().await;
            found
        })
        .await;
    let shown: Vec<_> =
        found.iter().map(|it| (it.url.as_str(), it.node_id.is_some() || it.public_key.is_some())).collect();
    assert_eq!(shown, [("http://10.77.0.2:7000", false)], "he is there, but proves nothing");
    assert!(itself.all() > 0, "he was heard");
    assert_eq!(traps.map(|trap| trap.all()), [0, 0, 0]);
}
