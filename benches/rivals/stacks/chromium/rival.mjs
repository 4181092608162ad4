// Chromium, through the workloads of the comparison in docs/performance.md: both
// ends in one page, the same arguments and the same line of JSON as the programs
// over ../../kit. CPU time and memory are those of all the browser's processes.
//
// Configured as MDN and the WebRTC samples recommend for throughput: sending waits
// above 1 MiB of buffered bytes and goes on at `bufferedamountlow`, below a half of
// it. Its host candidates are those of the machine's own address, since it has none
// on the loopback; the way between them is the loopback all the same.
//
//   PEER_MODULES  the folder whose node_modules has puppeteer-core
//   CHROMIUM      the browser (default /usr/bin/chromium)

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

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
  // Addresses instead of mDNS names, as for a page that was granted the camera.
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--remote-debugging-port=0',
  'about:blank',
];
// Linux tells CPU times in hundredths of a second.
const TICKS = 100;
const PAGE_BYTES = 4096;

/** All processes that descend from this one, with their fields of /proc/PID/stat. */
function family(root) {
  const all = new Map();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The name, in brackets, may contain anything.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      all.set(Number(pid), { parent: Number(fields[1]), fields });
    } catch {
      // it has ended meanwhile
    }
  }
  const ours = new Set([root]);
  for (let before = 0; before !== ours.size; ) {
    before = ours.size;
    for (const [pid, { parent }] of all) if (ours.has(parent)) ours.add(pid);
  }
  return [...ours].map((pid) => all.get(pid)?.fields).filter((fields) => fields);
}

/** CPU seconds spent by the browser so far. */
const cpu = (root) =>
  family(root).reduce((sum, fields) => sum + (Number(fields[11]) + Number(fields[12])) / TICKS, 0);

/** Bytes of the browser that are in memory. */
const resident = (root) => family(root).reduce((sum, fields) => sum + Number(fields[21]) * PAGE_BYTES, 0);

/** Serves the page, isolated, so that its clock is as fine as it gets. */
function serve() {
  const here = dirname(fileURLToPath(import.meta.url));
  const script = readFileSync(join(here, 'page.js'));
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.writeHead(200, {
      'content-type': isScript ? 'text/javascript; charset=utf-8' : 'text/html; charset=utf-8',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    response.end(isScript ? script : '<!doctype html><script src="/page.js"></script>');
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

/** The browser's address for puppeteer. */
function started(browser) {
  return new Promise((resolve, reject) => {
    const lines = createInterface({ input: browser.stderr });
    lines.on('line', (line) => {
      const found = /DevTools listening on (\S+)/.exec(line);
      if (found) resolve(found[1]);
    });
    browser.once('error', reject);
    browser.once('exit', (code) => reject(new Error(`${BROWSER} ended on its own (${code})`)));
  });
}

async function main() {
  const { values } = parseArgs({
    options: {
      workload: { type: 'string' },
      size: { type: 'string', default: '16384' },
      count: { type: 'string', default: '1' },
      seconds: { type: 'string', default: '2' },
      via: { type: 'string' },
    },
  });
  const options = {
    workload: values.workload,
    size: Number(values.size),
    count: Number(values.count),
    seconds: Number(values.seconds),
    via: values.via?.split(','),
  };
  const profile = mkdtempSync(join(tmpdir(), 'peerloom-chromium-'));
  const server = await serve();
  // In this program's process group: whoever ends the group ends the browser.
  const browser = spawn(BROWSER, [...FLAGS, `--user-data-dir=${profile}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
  });
  const finish = (line) => {
    process.stdout.write(JSON.stringify(line) + '\n', () => {
      browser.kill('SIGKILL');
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      process.exit(line.error ? 1 : 0);
    });
  };
  process.on('SIGTERM', () => finish({ error: 'told to end' }));
  try {
    const modules = createRequire(join(process.env.PEER_MODULES, 'package.json'));
    const { default: puppeteer } = await import(pathToFileURL(modules.resolve('puppeteer-core')));
    const connected = await puppeteer.connect({ browserWSEndpoint: await started(browser), protocolTimeout: 0 });
    const page = await connected.newPage();
    await page.exposeFunction('cpu', () => cpu(browser.pid));
    await page.exposeFunction('resident', () => resident(browser.pid));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    finish(await page.evaluate((options) => globalThis.run(options), options));
  } catch (error) {
    finish({ error: `${error.message}` });
  }
}

main();
