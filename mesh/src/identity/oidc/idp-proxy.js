// The identity provider proxy of W3C webrtc-identity (section 5) on top of OpenID Connect: with it
// a browser's peer connection and Peerloom's (mesh/src/identity/oidc) validate each other.
//
// Serve this file from the issuer's host, by HTTPS on port 443, as
// `/.well-known/idp-proxy/default`, with the settings below filled in. The issuer has to know
// `redirect` as an address of `client`, which may be a page that says nothing.
"use strict";

const settings = {
  // The issuer; its host is the identity provider's domain.
  issuer: "https://accounts.example.com",
  // The id of pages at the issuer.
  client: "page",
  // Other ids of the same application: those of programs.
  audiences: ["us"],
  redirect: "https://accounts.example.com/.well-known/idp-proxy/redirect",
  // Where to log in.
  login: "https://accounts.example.com/",
  // How old a token may be, in seconds.
  age: 3600,
};

const skew = 120;

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

const encode = (text) => new TextEncoder().encode(text);

const hash = (text) => base64url(sha256(encode(text)));

const json = (part) => JSON.parse(new TextDecoder().decode(bytes(part)));

const fetched = async (address, init) => {
  const answer = await fetch(address, init);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
};

const discover = () => fetched(`${settings.issuer}/.well-known/openid-configuration`);

// An error that has the page log in (section 5.4).
const loginError = (why) =>
  Object.assign(new Error(why), { name: "IdpLoginError", loginUrl: settings.login });

// A token for the session that the browser has with the provider: authorization code with PKCE and
// `prompt=none`. Its nonce is the hash of the contents.
async function token(contents) {
  const { authorization_endpoint, token_endpoint } = await discover();
  const [state, verifier] = [16, 32].map((n) => base64url(crypto.getRandomValues(new Uint8Array(n))));
  const ask = new URLSearchParams({
    client_id: settings.client,
    code_challenge: hash(verifier),
    code_challenge_method: "S256",
    nonce: hash(contents),
    prompt: "none",
    redirect_uri: settings.redirect,
    response_type: "code",
    scope: "openid",
    state,
  });
  const landed = await fetch(`${authorization_endpoint}?${ask}`, { credentials: "include" });
  const back = new URL(landed.url).searchParams;
  if (back.get("state") !== state) throw new Error("the provider answered something else");
  if (back.has("error")) throw loginError(back.get("error"));
  const exchange = new URLSearchParams({
    client_id: settings.client,
    code: back.get("code"),
    code_verifier: verifier,
    grant_type: "authorization_code",
    redirect_uri: settings.redirect,
  });
  const granted = await fetched(token_endpoint, { method: "POST", body: exchange });
  return granted.id_token;
}

// Firefox gives a proxy no `crypto.subtle`: SHA-256 (FIPS 180-4) and RS256, the algorithm that every
// provider has (OpenID Connect Core 1.0, section 15.1). Both are on public values only.
const root = (n, degree) => {
  const value = n ** (1 / degree);
  return ((value - Math.floor(value)) * 2 ** 32) | 0;
};

const primes = [];
for (let n = 2; primes.length < 64; n += 1) {
  if (primes.every((prime) => n % prime)) primes.push(n);
}
const rounds = primes.map((prime) => root(prime, 3));
const start = primes.slice(0, 8).map((prime) => root(prime, 2));

function sha256(message) {
  const length = Math.ceil((message.length + 9) / 64) * 64;
  const padded = new Uint8Array(length);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(length - 4, message.length * 8);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  let state = start;
  for (let block = 0; block < length; block += 64) {
    const w = Array.from({ length: 16 }, (_, i) => view.getInt32(block + 4 * i));
    for (let i = 16; i < 64; i += 1) {
      const [x, y] = [w[i - 15], w[i - 2]];
      const low = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
      const high = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
      w[i] = (w[i - 16] + low + w[i - 7] + high) | 0;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i += 1) {
      const one = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
      const first = (h + one + ((e & f) ^ (~e & g)) + rounds[i] + w[i]) | 0;
      const zero = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
      const second = (zero + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
    }
    state = [a, b, c, d, e, f, g, h].map((value, i) => (value + state[i]) | 0);
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((value, i) => digest.setInt32(4 * i, value));
  return new Uint8Array(digest.buffer);
}

const hex = (values) => Array.from(values, (byte) => byte.toString(16).padStart(2, "0")).join("");

// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2.2): the encoded message, compared whole.
function signed(jwk, message, signature) {
  const [n, e, s] = [bytes(jwk.n), bytes(jwk.e), signature].map((value) => BigInt(`0x${hex(value)}`));
  if (signature.length !== bytes(jwk.n).length || s >= n || n < 2n ** 2047n) return false;
  let [result, base] = [1n, s];
  for (let exponent = e; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % n;
    base = (base * base) % n;
  }
  const tail = `003031300d060960864801650304020105000420${hex(sha256(message))}`;
  const wanted = `0001${"f".repeat(signature.length * 2 - 4 - tail.length)}${tail}`;
  return result.toString(16).padStart(signature.length * 2, "0") === wanted;
}

// The claims of a token that holds (OpenID Connect Core 1.0, section 3.1.3.7).
async function claims(text, contents) {
  const [head, body, signature] = text.split(".");
  const { alg, kid } = json(head);
  if (alg !== "RS256") throw new Error(`signed with ${alg}`);
  const { issuer, jwks_uri } = await discover();
  const { keys } = await fetched(jwks_uri);
  const jwk = keys.find((key) => key.kid === kid && (key.use ?? "sig") === "sig");
  if (!jwk) throw new Error("signed with an unknown key");
  if (jwk.kty !== "RSA" || !signed(jwk, encode(`${head}.${body}`), bytes(signature))) {
    throw new Error("the signature is wrong");
  }
  const claim = json(body);
  const now = Date.now() / 1000;
  const audience = [claim.aud].flat();
  const known = [settings.client, ...settings.audiences];
  if (claim.iss !== issuer || issuer !== settings.issuer) throw new Error("another issuer");
  if (!audience.length || !audience.every((id) => known.includes(id))) throw new Error("another audience");
  if (!(claim.exp > now)) throw new Error("expired");
  if (!(claim.iat < now + skew && claim.iat > now - settings.age)) throw new Error("too old");
  if (claim.nonce !== hash(contents)) throw new Error("another nonce");
  return claim;
}

// What could be mistaken in a subject's id, as the program encodes it.
const escaped = (text) => text.replace(/[@%\s\p{Cc}]/gu, encodeURIComponent);

rtcIdentityProvider.register({
  async generateAssertion(contents) {
    const assertion = JSON.stringify({ token: await token(contents), contents });
    return { idp: { domain: new URL(settings.issuer).hostname, protocol: "default" }, assertion };
  },

  async validateAssertion(assertion) {
    const { token: text, contents } = JSON.parse(assertion);
    const { sub } = await claims(text, contents);
    return { identity: `${escaped(sub)}@${new URL(settings.issuer).hostname}`, contents };
  },
});
