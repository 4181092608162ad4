// Numbered messages, and the counters of those that arrive.

import { CHECK_LIMIT_MS, until } from './tools.js';

/** Messages above this size are checked by sequence number and last byte only. */
const FULL_CHECK_BYTES = 4096;
/** Senders pause above this many buffered bytes; Chromium refuses at 16 MiB. Who loads this may want less. */
const highWater = () => globalThis.peerHighWater ?? 1 << 20;

export function pattern(q, size) {
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, q);
  for (let i = 4; i < size; i++) bytes[i] = (q * 31 + i * 7) & 255;
  return bytes;
}

export function counters() {
  return { msgs: 0, bytes: 0, inOrder: true, dup: 0, corrupt: 0, min: null, max: null, last: -1, seen: new Set(), from: null, to: null };
}

export function count(c, data) {
  const now = performance.now();
  c.from ??= now;
  c.to = now;
  c.msgs++;
  if (!(data instanceof ArrayBuffer) || data.byteLength < 4) {
    c.corrupt++;
    return;
  }
  const bytes = new Uint8Array(data);
  const q = new DataView(data).getUint32(0);
  const good = (i) => bytes[i] === ((q * 31 + i * 7) & 255);
  c.bytes += bytes.length;
  if (c.seen.has(q)) c.dup++;
  c.seen.add(q);
  if (q !== c.last + 1) c.inOrder = false;
  c.last = q;
  c.min = c.min === null ? q : Math.min(c.min, q);
  c.max = c.max === null ? q : Math.max(c.max, q);
  const last = bytes.length - 1;
  if (bytes.length > FULL_CHECK_BYTES) {
    if (!good(last)) c.corrupt++;
    return;
  }
  for (let i = 4; i <= last; i++) {
    if (!good(i)) {
      c.corrupt++;
      return;
    }
  }
}

export function report(c) {
  const { seen, from, to, ...rest } = c;
  return { ...rest, ms: from === null ? 0 : Math.round(to - from) };
}

/** Sends `total` patterned messages, pausing while the buffer is full. */
export async function sendPatterned(channel, total, size) {
  const drained = () => channel.bufferedAmount <= highWater() / 2;
  for (let q = 0; q < total; q++) {
    // Asked for, not waited for: wrtc has no `bufferedamountlow`.
    if (channel.bufferedAmount > highWater()) await until(drained, CHECK_LIMIT_MS, 'room to send');
    channel.send(pattern(q, size));
  }
}
