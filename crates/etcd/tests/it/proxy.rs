//! A TCP proxy between a store and a member of etcd, whose connections can be cut.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// The state of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// They work.
    Up,
    /// They are closed, and new ones are closed at once.
    Cut,
    /// They stay open, and nothing comes through.
    Silent,
}

/// A proxy to one member. It ends with the runtime of the test.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    link: watch::Sender<Link>,
    /// The number of open connections.
    open: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy to `port` on the loopback interface.
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = watch::Sender::new(Link::Up);
        let open = Arc::<AtomicUsize>::default();
        let (links, count) = (link.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (link, count) = (links.subscribe(), count.clone());
                tokio::spawn(async move {
                    forward(client, to, link).await;
                    count.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, link, open }
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Changes what happens to connections, from now on.
    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn forward(client: TcpStream, to: u16, mut link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        return;
    }
    let Ok(member) = TcpStream::connect(("127.0.0.1", to)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_member, to_member) = member.into_split();
    let (up, down) = (link.clone(), link.clone());
    tokio::select! {
        () = copy(from_client, to_member, up) => {}
        () = copy(from_member, to_client, down) => {}
        _ = link.wait_for(|link| *link == Link::Cut) => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if link.wait_for(|link| *link != Link::Silent).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
