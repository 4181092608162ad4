// Firefox, logged in at https://localhost, doing what it is told there. JSON lines:
//   stdin   {"login": account}   {"run": the body of an async function}
//   stdout  {"ev":"ready"}, {"ev":"ran","value"} or {"ev":"ran","error"}
// Run with the folder that holds node_modules as its argument.
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.argv[2]}/package.json`);
const { default: puppeteer } = await import(pathToFileURL(require.resolve("puppeteer-core")).href);

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const host = "https://localhost";
const profile = mkdtempSync(join(tmpdir(), "peerloom-firefox-"));

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: "/usr/bin/firefox-esr",
  headless: true,
  acceptInsecureCerts: true,
  userDataDir: profile,
  extraPrefsFirefox: {
    "media.peerconnection.ice.loopback": true,
    "media.peerconnection.ice.obfuscate_host_addresses": false,
    "media.peerconnection.identity.enabled": true,
  },
  env: { ...process.env, HOME: profile },
});
const page = await browser.newPage();
await page.goto(`${host}/`);

// Logs in as the proxy's client would have its user do, once.
async function login(account) {
  const ask = new URLSearchParams({
    client_id: "page",
    code_challenge: "A".repeat(43),
    code_challenge_method: "S256",
    redirect_uri: `${host}/.well-known/idp-proxy/redirect`,
    response_type: "code",
    scope: "openid",
  });
  await page.goto(`${host}/auth?${ask}`);
  for (let form = 0; form < 5 && !page.url().includes("/idp-proxy/"); form += 1) {
    const left = page.waitForNavigation();
    await page.evaluate((name) => {
      for (const field of document.querySelectorAll("input[type=text], input[type=password]")) {
        field.value = name;
      }
      document.querySelector("form").submit();
    }, account);
    await left;
  }
  const at = page.url();
  await page.goto(`${host}/`);
  return at;
}

const run = (body) => page.evaluate((text) => new Function(`return (async () => {${text}})()`)(), body);

tell({ ev: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const { login: account, run: body } = JSON.parse(line);
  const ran = account ? login(account) : run(body);
  tell(await ran.then((value) => ({ ev: "ran", value }), (error) => ({ ev: "ran", error: `${error}` })));
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
process.exit(0);
