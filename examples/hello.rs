//! Two nodes find each other, prove who they are, and say hello.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use peerloom::{Config, Mesh};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ada = Mesh::open(Config::local("hello").with_nick("ada")).await?;
    let ticket = ada.ticket().await?;
    let bob = Mesh::open(Config::local("hello").with_ticket(ticket)).await?;
    let (here, there) = (ada.join("lobby").await?, bob.join("lobby").await?);
    let mut inbox = here.channel::<String>("greetings").await?;
    let greetings = there.channel::<String>("greetings").await?;
    there.wait_for(|members| members.len() == 2).await?;
    greetings
        .send(ada.peer_id(), &"hello, ada".to_owned())
        .await?;
    if let Some((from, text)) = inbox.next().await {
        println!("{from} says: {text}");
    }
    Ok(())
}
