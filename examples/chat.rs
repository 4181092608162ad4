//! A chat: every line of stdin goes to everybody in the room.
//!
//! ```text
//! cargo run --example chat                 # prints a ticket
//! cargo run --example chat -- TICKET       # joins, in another terminal
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use peerloom::{Config, Data, Mesh};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

/// What is said: any type that serde knows.
#[derive(Serialize, Deserialize)]
struct Say {
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::new("chat").with_data(Data::Memory);
    if let Some(ticket) = std::env::args().nth(1) {
        config = config.with_ticket(ticket.parse()?);
    }
    let mesh = Mesh::open(config).await?;
    println!("ticket: {}", mesh.ticket().await?);

    let room = mesh.join("lobby").await?;
    let mut chat = room.channel::<Say>("chat").await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(text) => chat.broadcast(&Say { text }).await?,
                None => break,
            },
            said = chat.next() => match said {
                Some((from, Say { text })) => println!("{}: {text}", from.short()),
                None => break,
            },
        }
    }
    mesh.close().await;
    Ok(())
}
