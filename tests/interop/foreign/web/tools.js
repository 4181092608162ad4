// Lines out, and waiting within limits.

/** How long a check may take. */
export const CHECK_LIMIT_MS = 60_000;
/** How long a connection, a channel or an event may take. */
export const CONNECT_LIMIT_MS = 20_000;

export const emit = (line) => globalThis.peerEmit(JSON.stringify(line));
export const log = (msg) => emit({ ev: 'log', msg: String(msg) });
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Failed extends Error {
  constructor(message, detail = {}) {
    super(message);
    this.detail = detail;
  }
}

export const expect = (truth, step, detail) => {
  if (!truth) throw new Failed(step, detail);
};

export function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failed(`${what}: nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const once = (target, event, ms) =>
  within(new Promise((resolve) => target.addEventListener(event, resolve, { once: true })), ms, event);

/** Polls `test` until it holds; for state that no event announces. */
export async function until(test, ms, what) {
  const end = performance.now() + ms;
  for (;;) {
    const value = await test();
    if (value) return value;
    if (performance.now() > end) throw new Failed(`${what}: not within ${ms} ms`);
    await sleep(20);
  }
}
