//! A TCP proxy, for example between a store and a member of etcd, whose connections can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

/// The state of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// They work.
    Up,
    /// They are reset, and new ones are reset at once.
    Cut,
    /// They stay open, and nothing comes through.
    Silent,
}

/// A proxy to one address. It ends with the runtime of the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    link: watch::Sender<Link>,
    /// The number of open connections.
    open: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy to `to` on the loopback interface.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
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
        Self {
            address,
            link,
            open,
        }
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

async fn forward(mut client: TcpStream, to: SocketAddr, mut link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        reset_on_close(&client);
        return;
    }
    let Ok(mut server) = TcpStream::connect(to).await else {
        return;
    };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (up, down) = (link.clone(), link.clone());
    tokio::select! {
        () = copy(from_client, to_server, up) => {}
        () = copy(from_server, to_client, down) => {}
        _ = link.wait_for(|link| *link == Link::Cut) => {
            reset_on_close(&client);
            reset_on_close(&server);
        }
    }
}

/// Makes the end of the connection a reset, which throws away what is not sent yet.
fn reset_on_close(stream: &TcpStream) {
    // It fails if the connection has ended already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut link: watch::Receiver<Link>) {
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
