// A Firefox peer: starts Firefox headless with a fresh profile, opens an
// ordinary page (../web/page.html) from a loopback server, and carries JSON
// lines between stdin/stdout and that page, over WebDriver BiDi.
//
//   FIREFOX          the browser to start (default /usr/bin/firefox-esr)
//   FIREFOX_PREFS    more preferences, a JSON object
//   PEER_INSECURE    if set, certificates nobody vouches for are accepted
//   PEER_MODULES     the folder whose node_modules has puppeteer-core
//   PEER_LOOPBACK    if set, servers and peers on loopback are spoken to
//   PEER_MDNS        if set, host candidates are mDNS names, as in a page that
//                    was never granted the camera

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { commands, installed, servePage } from '../web/host.mjs';

const BROWSER = process.env.FIREFOX || '/usr/bin/firefox-esr';
const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.loopback': Boolean(process.env.PEER_LOOPBACK),
  'media.peerconnection.ice.obfuscate_host_addresses': Boolean(process.env.PEER_MDNS),
  // Nothing but the page: no first-run tabs, updates or reports.
  'app.update.disabledForTesting': true,
  'browser.aboutwelcome.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'toolkit.telemetry.server': '',
  ...JSON.parse(process.env.FIREFOX_PREFS || '{}'),
};

/** Ends everything that was started; set as soon as there is something to end. */
let end = (code) => process.exit(code);

async function main() {
  const { default: puppeteer } = await installed('puppeteer-core');
  const profile = mkdtempSync(join(tmpdir(), 'peerloom-firefox-'));
  const server = await servePage();
  const remove = () => rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  const serve = commands((code) => end(code));
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: BROWSER,
    headless: true,
    userDataDir: profile,
    acceptInsecureCerts: Boolean(process.env.PEER_INSECURE),
    extraPrefsFirefox: PREFERENCES,
    env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: '1' },
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
  let ending = false;
  end = (code) => {
    if (ending) return;
    ending = true;
    try {
      process.kill(-browser.process().pid, 'SIGKILL');
    } catch {
      browser.process().kill('SIGKILL');
    }
    server.closeAllConnections();
    server.close();
    try {
      remove();
    } catch {
      // a dying browser may still write to its profile; the folder is temporary anyway
    }
    process.exit(code);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => end(1));
  browser.once('disconnected', () => {
    if (!ending) process.stderr.write(`${BROWSER} ended on its own\n`);
    end(1);
  });

  const page = await browser.newPage();
  page.on('pageerror', (error) => process.stdout.write(`${JSON.stringify({ ev: 'log', msg: String(error) })}\n`));
  await page.exposeFunction('peerEmit', (line) => void process.stdout.write(`${line}\n`));
  await page.goto(`http://127.0.0.1:${server.address().port}/page.html`, { waitUntil: 'load' });
  await page.evaluate((version) => globalThis.peer.start('firefox', version), await browser.version());
  serve((command) =>
    page
      .evaluate((line) => void globalThis.peer.line(line), command)
      .catch((error) => {
        if (!ending) process.stderr.write(`${error.message}\n`);
        end(1);
      }),
  );
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  end(1);
});
