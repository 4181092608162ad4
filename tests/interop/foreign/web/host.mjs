// What the programs that load the page need: a server for it, and the commands
// on stdin.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const SCRIPTS = ['page.js', 'checks.js', 'driver.js', 'pattern.js', 'responder.js', 'tools.js'];

/** Serves the page and its scripts, and nothing else, on a loopback port. */
export function servePage() {
  const files = { '/page.html': ['text/html; charset=utf-8', readFileSync(join(HERE, 'page.html'))] };
  for (const name of SCRIPTS) {
    files[`/${name}`] = ['text/javascript; charset=utf-8', readFileSync(join(HERE, name))];
  }
  const server = createServer((request, response) => {
    const file = files[new URL(request.url, 'http://localhost').pathname];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': file[0] }).end(file[1]);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

/**
 * Reads commands from now on and keeps them until the returned function is
 * given somebody to take them; `end` is called at the end of stdin, and when
 * `exit` comes.
 */
export function commands(end) {
  const queued = [];
  let deliver = (line) => queued.push(line);
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => deliver(line));
  lines.once('close', () => deliver('{"cmd":"exit"}'));
  return (take) => {
    deliver = (line) => {
      if (line.trim() === '') return;
      let command;
      try {
        command = JSON.parse(line);
      } catch {
        process.stderr.write(`not JSON: ${line.slice(0, 200)}\n`);
        return;
      }
      if (command.cmd === 'exit') end(0);
      else take(command);
    };
    for (const line of queued.splice(0)) deliver(line);
  };
}

/** The folder whose node_modules has what is installed for these programs. */
export function modules() {
  const folder = process.env.PEER_MODULES;
  if (!folder) throw new Error('PEER_MODULES names no folder');
  return folder;
}

/** A package installed there. */
export function installed(name) {
  const resolved = createRequire(join(modules(), 'package.json')).resolve(name);
  return import(pathToFileURL(resolved));
}
