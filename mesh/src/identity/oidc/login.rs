//! Logging in with a browser: authorization code with PKCE, back to a port on this machine
//! (RFC 8252 sections 6 and 7.3).

use std::io;
use std::time::Duration;

use openidconnect::url::Url;
use openidconnect::{AuthorizationCode, CsrfToken};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long somebody may take to log in.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a browser may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest request read, in bytes.
const MAX_REQUEST: usize = 16 * 1024;
/// Where the browser is sent back to.
const PATH: &str = "/callback";

/// Why nobody logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the identity provider refused the login: {0}")]
    Provider(String),
    #[error("the browser cannot come back: {0}")]
    Listener(String),
    #[error("nobody logged in within {} s", LOGIN_TIMEOUT.as_secs())]
    TimedOut,
}

/// Waits for the browser to come back.
pub(super) struct Redirect {
    listener: TcpListener,
    pub(super) address: String,
}

impl Redirect {
    /// Listens on this machine, at any free port if `port` is 0.
    pub(super) async fn listen(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self {
            listener,
            address: format!("http://127.0.0.1:{port}{PATH}"),
        })
    }

    /// The code that the browser brings back. One request at a time; what does not carry `state`
    /// is none of this login's, and turned away.
    pub(super) async fn code(self, state: &CsrfToken) -> Result<AuthorizationCode, Refusal> {
        let code = tokio::time::timeout(LOGIN_TIMEOUT, async {
            loop {
                let accepted = self.listener.accept().await;
                let (socket, _) = accepted.map_err(|e| Refusal::Listener(e.to_string()))?;
                let served = tokio::time::timeout(REQUEST_TIMEOUT, serve(socket, state)).await;
                if let Ok(Ok(Some(outcome))) = served {
                    return outcome;
                }
            }
        });
        code.await.unwrap_or(Err(Refusal::TimedOut))
    }
}

type Outcome = Result<AuthorizationCode, Refusal>;

async fn serve(mut socket: TcpStream, state: &CsrfToken) -> io::Result<Option<Outcome>> {
    let head = read_head(&mut socket).await?;
    let outcome = outcome(&head, state);
    let (status, text) = match &outcome {
        Some(Ok(_)) => ("200 OK", "You are logged in. You can close this window."),
        Some(Err(_)) => ("200 OK", "The login failed. You can close this window."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await?;
    Ok(outcome)
}

async fn read_head(socket: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut limited = socket.take(MAX_REQUEST as u64);
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = limited.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// What a request says about the login with this state (RFC 6749 section 4.1.2).
fn outcome(head: &str, state: &CsrfToken) -> Option<Outcome> {
    let target = head.strip_prefix("GET ")?.split(' ').next()?;
    let url = Url::parse("http://127.0.0.1/").ok()?.join(target).ok()?;
    let value = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    if url.path() != PATH || value("state")? != *state.secret() {
        return None;
    }
    if let Some(error) = value("error") {
        return Some(Err(Refusal::Provider(error)));
    }
    value("code").map(|code| Ok(AuthorizationCode::new(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_redirect_of_this_login_counts() {
        let state = CsrfToken::new("s".into());
        let code = |head: &str| outcome(head, &state).map(|o| o.map(|c| c.secret().clone()));
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            code(&get("/callback?code=c%20d&state=s")),
            Some(Ok("c d".into()))
        );
        assert_eq!(
            code(&get("/callback?error=access_denied&state=s")),
            Some(Err(Refusal::Provider("access_denied".into())))
        );
        for other in [
            "/callback?code=c",
            "/callback?code=c&state=t",
            "/?code=c&state=s",
        ] {
            assert_eq!(code(&get(other)), None, "{other}");
        }
        assert_eq!(code("POST /callback?code=c&state=s HTTP/1.1\r\n\r\n"), None);
        assert_eq!(code(""), None);
    }
}
