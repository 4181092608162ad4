// A certified OpenID Connect provider (npm oidc-provider) on this machine, and somebody with a
// browser who logs in there. JSON lines, as in docs/peer-protocol.md:
//   stdin   {"visit": address, "as": account}   opens the address and fills in the forms it meets
//           {"behind": seconds}                 sets the provider's clock back
//   stdout  {"ev":"ready","issuer"}, {"ev":"visited","text"}, {"ev":"granted","client","type"}
// Run with the folder that holds node_modules as its argument. With the files of a certificate and
// its key behind it, it is https://localhost and serves the identity provider proxy to browsers.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// The lines on stdout are ours.
console.info = console.log = console.error;

const require = createRequire(`${process.argv[2]}/package.json`);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const client = (client_id) => ({
  client_id,
  application_type: "native",
  token_endpoint_auth_method: "none",
  grant_types: ["authorization_code", "refresh_token"],
  redirect_uris: ["http://127.0.0.1/callback"],
  response_types: ["code"],
});

const host = "https://localhost";
const wellKnown = "/.well-known/idp-proxy/";

// The client that the proxy is.
const page = {
  client_id: "page",
  token_endpoint_auth_method: "none",
  grant_types: ["authorization_code"],
  redirect_uris: [`${host}${wellKnown}redirect`],
  response_types: ["code"],
};

// Tokens of `brief` expire soon.
const seconds = { brief: 30 };

const configuration = {
  clients: [...["us", "them", "brief"].map(client), page],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: id !== "eve" }),
  }),
  issueRefreshToken: () => true,
  pkce: { required: () => true },
  ttl: { IdToken: (_, __, client) => seconds[client.clientId] ?? 3600 },
};

// Follows redirects with the cookies that were set, and fills in forms, until a page has none.
async function visit(address, account) {
  const cookies = new Map();
  let request = { url: address };
  for (let page = 0; page < 20; page += 1) {
    const { url, body } = request;
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const method = body ? "POST" : "GET";
    const answer = await fetch(url, { method, body, headers: { cookie }, redirect: "manual" });
    for (const set of answer.headers.getSetCookie()) {
      const [, name, value] = set.match(/^([^=]+)=([^;]*)/);
      cookies.set(name, value);
    }
    const text = await answer.text();
    const form = text.match(/<form[^>]* action="([^"]+)"/);
    if (answer.headers.has("location")) {
      request = { url: new URL(answer.headers.get("location"), url) };
    } else if (form) {
      const prompt = text.match(/name="prompt" value="([^"]+)"/)[1];
      const fields = new URLSearchParams({ prompt, login: account, password: "any" });
      request = { url: new URL(form[1], url), body: fields };
    } else {
      return text;
    }
  }
  throw new Error("redirected without end");
}

const [certificate, key] = process.argv.slice(3).map((path) => readFileSync(path));
const server = certificate ? createSecureServer({ cert: certificate, key }) : createServer();

// The proxy that we ship, with its settings filled in.
const proxy = () => {
  const shipped = new URL("../../../mesh/src/identity/oidc/idp-proxy.js", import.meta.url);
  return readFileSync(shipped, "utf8").replaceAll("https://accounts.example.com", host);
};

const answer = (response, type, text) => {
  response.writeHead(200, { "content-type": type });
  response.end(text);
};

server.listen(certificate ? 443 : 0, "127.0.0.1", () => {
  const issuer = certificate ? host : `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const provide = provider.callback();
  server.on("request", (request, response) => {
    const path = new URL(request.url, issuer).pathname;
    if (path === `${wellKnown}default`) return answer(response, "text/javascript", proxy());
    if (path === `${wellKnown}redirect`) return answer(response, "text/plain", "You are back.");
    if (path === "/") return answer(response, "text/html", "<!doctype html><title>page</title>");
    return provide(request, response);
  });
  provider.on("grant.success", (ctx) => {
    tell({ ev: "granted", client: ctx.oidc.client.clientId, type: ctx.oidc.params.grant_type });
  });
  tell({ ev: "ready", issuer });
});

for await (const line of createInterface({ input: process.stdin })) {
  const { visit: address, as, behind } = JSON.parse(line);
  if (behind) {
    const now = Date.now;
    Date.now = () => now() - behind * 1000;
    continue;
  }
  const text = await visit(address, as).catch((error) => `${error}: ${error.cause}`);
  tell({ ev: "visited", text });
}
process.exit(0);
