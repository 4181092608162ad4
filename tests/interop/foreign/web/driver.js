// How the checks ask the other side.

import { pc, remember } from './responder.js';
import { CHECK_LIMIT_MS, CONNECT_LIMIT_MS, Failed, expect, once, until, within } from './tools.js';

/** A sink that may lose messages has got all it will get when it counted nothing for this long. */
const QUIET_MS = 1000;

let ctl = null;
let serial = 0;
export const fresh = (prefix) => `${prefix}-${++serial}`;

export async function open(label, options) {
  const channel = remember(pc.createDataChannel(label, options));
  const inbox = [];
  let waiting = null;
  channel.addEventListener('message', ({ data }) => {
    if (waiting) {
      waiting(data);
      waiting = null;
    } else inbox.push(data);
  });
  channel.next = (ms = 10_000) =>
    inbox.length
      ? Promise.resolve(inbox.shift())
      : within(new Promise((resolve) => (waiting = resolve)), ms, `message on ${label.slice(0, 40)}`);
  if (channel.readyState !== 'open') await once(channel, 'open', CONNECT_LIMIT_MS);
  // A request on `ctl` that names the channel could otherwise overtake its
  // announcement, which travels on another stream.
  const listed = async () => (await ask('channels')).channels.some((entry) => entry.label === label);
  await until(listed, CONNECT_LIMIT_MS, `${label.slice(0, 40)} open at the other side`);
  return channel;
}

const asked = new Map();
let rid = 0;

export async function ask(op, fields = {}) {
  const id = ++rid;
  const reply = new Promise((resolve) => asked.set(id, resolve));
  ctl.send(JSON.stringify({ rid: id, op, ...fields }));
  const { error, ...rest } = await within(reply, 30_000, `ctl ${op}`);
  if (error) throw new Failed(`ctl ${op}: ${error}`);
  return rest;
}

export async function connectCtl() {
  if (ctl && ctl.readyState === 'open') return;
  ctl = remember(pc.createDataChannel('ctl'));
  ctl.addEventListener('message', ({ data }) => {
    const reply = JSON.parse(data);
    const resolve = asked.get(reply.rid);
    asked.delete(reply.rid);
    resolve?.(reply);
  });
  if (ctl.readyState !== 'open') await once(ctl, 'open', CONNECT_LIMIT_MS);
}

export const same = (a, b) => {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
  return x.length === y.length && x.every((byte, i) => byte === y[i]);
};

export async function echoed(channel, data, step) {
  channel.send(data);
  const back = await channel.next();
  const kind = typeof data === 'string' ? 'string' : 'binary';
  expect((typeof back === 'string' ? 'string' : 'binary') === kind, `${step}: ${kind} came back as another kind`);
  expect(same(data, back), `${step}: came back changed`);
}

/** Waits until the other side has counted all. */
export const counted = (label, total) =>
  until(
    async () => {
      const seen = await ask('sinkReport', { label });
      return seen.msgs >= total ? seen : null;
    },
    CHECK_LIMIT_MS,
    `${total} messages on ${label}`,
  );

/** Waits until it has counted all, or nothing more for a while: for channels that may lose messages. */
export async function settled(label, total) {
  let previous = -1;
  let since = performance.now();
  return until(
    async () => {
      const seen = await ask('sinkReport', { label });
      if (seen.msgs !== previous) [previous, since] = [seen.msgs, performance.now()];
      const quiet = seen.msgs > 0 && performance.now() - since >= QUIET_MS;
      return seen.msgs >= total || quiet ? seen : null;
    },
    CHECK_LIMIT_MS,
    `sink ${label}`,
  );
}
