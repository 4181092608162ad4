// A Chromium peer: starts Chromium headless with a fresh profile, opens an
// ordinary page (../web/page.html) from a loopback server, and carries JSON
// lines between stdin/stdout and that page.
//
// Chromium is spoken to over its debugging pipe (file descriptors 3 and 4,
// messages ended by a zero byte), so nothing beyond Node itself is needed.
//
//   CHROMIUM   the browser to start (default /usr/bin/chromium)
//   PEER_INSECURE  if set, certificates nobody vouches for are accepted
//   PEER_MDNS  if set, host candidates stay mDNS names, as in a page that was
//              never granted the camera

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { commands, servePage } from '../web/host.mjs';

const BROWSER = process.env.CHROMIUM || '/usr/bin/chromium';
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--no-default-browser-check',
  '--use-fake-device-for-media-stream',
  '--remote-debugging-pipe',
];

/** The DevTools protocol over a pair of pipes. */
class Devtools {
  #out;
  #nextId = 1;
  #waiting = new Map();
  #listeners = [];
  #partial = [];

  constructor(input, output) {
    this.#out = output;
    input.on('data', (bytes) => this.#feed(bytes));
    output.on('error', () => {}); // the browser's exit is handled where it is watched
  }

  onEvent(listener) {
    this.#listeners.push(listener);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#nextId++;
    this.#out.write(JSON.stringify({ id, method, params, sessionId }) + '\0');
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, method }));
  }

  #feed(bytes) {
    let start = 0;
    for (let end; (end = bytes.indexOf(0, start)) >= 0; start = end + 1) {
      this.#partial.push(bytes.subarray(start, end));
      const text = Buffer.concat(this.#partial).toString('utf8');
      this.#partial = [];
      this.#dispatch(JSON.parse(text));
    }
    if (start < bytes.length) this.#partial.push(bytes.subarray(start));
  }

  #dispatch(message) {
    if (message.id === undefined) {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const call = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (!call) return;
    if (message.error) call.reject(new Error(`${call.method}: ${message.error.message}`));
    else call.resolve(message.result);
  }
}

/** Ends everything that was started; set as soon as there is something to end. */
let end = (code) => process.exit(code);

async function main() {
  const profile = mkdtempSync(join(tmpdir(), 'peerloom-chromium-'));
  const server = await servePage();
  const origin = `http://127.0.0.1:${server.address().port}`;
  const trust = process.env.PEER_INSECURE ? ['--ignore-certificate-errors'] : [];
  // This one grants the camera to every page.
  const ui = process.env.PEER_MDNS ? [] : ['--use-fake-ui-for-media-stream'];
  const browser = spawn(BROWSER, [...FLAGS, ...trust, ...ui, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    detached: true, // its own process group, so that every child goes with it
    env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
  });
  browser.stderr.on('data', (bytes) => {
    if (process.env.PEER_VERBOSE) process.stderr.write(bytes);
  });

  let ending = false;
  end = (code) => {
    if (ending) return;
    ending = true;
    try {
      process.kill(-browser.pid, 'SIGKILL');
    } catch {
      // it had gone already
    }
    server.closeAllConnections();
    server.close();
    try {
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    } catch {
      // a dying browser may still write to its profile; the folder is temporary anyway
    }
    process.exit(code);
  };
  browser.once('error', (error) => {
    process.stderr.write(`cannot start ${BROWSER}: ${error.message}\n`);
    end(1);
  });
  browser.once('exit', (code, signal) => {
    if (!ending) process.stderr.write(`${BROWSER} ended on its own (${signal ?? code})\n`);
    end(1);
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => end(1));

  const serve = commands(end);

  const devtools = new Devtools(browser.stdio[4], browser.stdio[3]);
  const { product } = await devtools.send('Browser.getVersion');
  const { targetId } = await devtools.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await devtools.send('Target.attachToTarget', { targetId, flatten: true });
  const page = (method, params) => devtools.send(method, params, sessionId);

  const loaded = new Promise((resolve) => {
    devtools.onEvent((message) => {
      if (message.sessionId !== sessionId) return;
      if (message.method === 'Runtime.bindingCalled' && message.params.name === 'peerEmit') {
        process.stdout.write(message.params.payload + '\n');
      } else if (message.method === 'Runtime.exceptionThrown') {
        const { exceptionDetails } = message.params;
        const text = exceptionDetails.exception?.description ?? exceptionDetails.text;
        process.stdout.write(JSON.stringify({ ev: 'log', msg: text }) + '\n');
      } else if (message.method === 'Inspector.targetCrashed') {
        process.stderr.write('the page crashed\n');
        end(1);
      } else if (message.method === 'Page.loadEventFired') {
        resolve();
      }
    });
  });
  await page('Page.enable');
  await page('Runtime.enable');
  await page('Runtime.addBinding', { name: 'peerEmit' });
  await page('Page.navigate', { url: `${origin}/page.html` });
  await loaded;
  const call = async (expression) => {
    const { result, exceptionDetails } = await page('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  if (!process.env.PEER_MDNS) await call('peer.revealAddresses()');
  await call(`peer.start('chromium', ${JSON.stringify(product)})`);

  serve((command) =>
    page('Runtime.evaluate', { expression: `peer.line(${JSON.stringify(command)})` }).catch((error) => {
      process.stderr.write(`${error.message}\n`);
      end(1);
    }),
  );
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  end(1);
});
