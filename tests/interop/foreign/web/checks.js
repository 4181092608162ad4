// The checks this peer drives.

import { ask, connectCtl, counted, echoed, fresh, open, settled } from './driver.js';
import { pattern, counters, count, report, sendPatterned } from './pattern.js';
import { pc, stats, inTurn, negotiations, offer } from './responder.js';
import { CHECK_LIMIT_MS, CONNECT_LIMIT_MS, Failed, expect, once, sleep, until, within } from './tools.js';

const KINDS = [
  ['default', {}],
  ['unordered', { ordered: false }],
  ['unordered, 0 retransmits', { ordered: false, maxRetransmits: 0 }],
  ['ordered, 3 retransmits', { maxRetransmits: 3 }],
  ['ordered, 500 ms', { maxPacketLifeTime: 500 }],
  ['unordered, 0 ms', { ordered: false, maxPacketLifeTime: 0 }],
  ['protocol', { protocol: 'chat.v1' }],
  ['unicode', { protocol: 'прото-ö-🕸' }, 'echo:Ünïcode-日本語-🧵'],
  ['long label', {}, `echo:${'x'.repeat(995)}`],
  ['negotiated 100', { negotiated: true, id: 100 }],
  ['negotiated 1001', { negotiated: true, id: 1001, ordered: false, maxRetransmits: 2 }],
];

export const checks = {
  async connect() {
    const from = performance.now();
    await connectCtl();
    const { impl, version } = await ask('ping');
    return { ms: Math.round(performance.now() - from), remote: { impl, version }, ...(await stats()) };
  },

  /**
   * The connection must not come up, however long one waits. Where the other
   * side is the one to refuse (`refuser: "other"`), DTLS may be done here
   * before its refusal arrives; then no channel must open.
   */
  async noConnect({ wait = 6000, refuser = 'self' }) {
    const probe = pc.createDataChannel('ctl');
    let ice = false;
    const end = performance.now() + wait;
    while (performance.now() < end) {
      ice ||= ['connected', 'completed'].includes(pc.iceConnectionState);
      expect(refuser === 'other' || pc.connectionState !== 'connected', 'the connection came up');
      expect(probe.readyState !== 'open', 'a channel opened');
      if (pc.connectionState === 'failed' || pc.connectionState === 'closed') break;
      await sleep(20);
    }
    return { iceConnected: ice, connection: pc.connectionState };
  },

  async channels() {
    const passed = [];
    for (const [name, options, given] of KINDS) {
      const label = given ?? fresh('echo:kind');
      if (options.negotiated) {
        const { negotiated, id, ...rest } = options;
        await ask('negotiate', { label, id, options: rest });
      }
      const channel = await open(label, options);
      const wanted = {
        label,
        protocol: options.protocol ?? '',
        ordered: options.ordered ?? true,
        maxRetransmits: options.maxRetransmits ?? null,
        maxPacketLifeTime: options.maxPacketLifeTime ?? null,
        negotiated: options.negotiated ?? false,
      };
      if (options.maxRetransmits === 0 || options.maxPacketLifeTime === 0) {
        // Such a message may be lost by design: the echo is tried again.
        let back = null;
        for (let attempt = 0; back === null && attempt < 10; attempt++) {
          channel.send(`hello ${attempt}`);
          back = await channel.next(500).catch(() => null);
        }
        expect(back !== null, `${name}: no echo in ten attempts`);
      } else await echoed(channel, `hello ${name}`, name);
      const there = (await ask('channels')).channels.find((entry) => entry.label === label);
      expect(there, `${name}: the other side does not list it`);
      for (const [key, value] of Object.entries({ ...wanted, id: channel.id })) {
        // `negotiated` describes how an end was made; a DCEP channel says false at both.
        expect(there[key] === value, `${name}: ${key} is ${there[key]} there and ${value} here`);
        expect(channel[key] === value, `${name}: ${key} is ${channel[key]} here and should be ${value}`);
      }
      passed.push(name);
      channel.close();
    }
    return { passed: passed.length, kinds: passed };
  },

  async sizes() {
    const channel = await open(fresh('echo:sizes'));
    const limit = pc.sctp.maxMessageSize;
    const largest = Math.min(limit, 262_144);
    const sizes = [1, 1024, 65_536, largest].filter((size) => size <= largest);
    for (const size of new Set(sizes)) {
      await echoed(channel, 'a'.repeat(size), `string of ${size}`);
      const bytes = size < 4 ? new Uint8Array(size).fill(7) : pattern(size, size);
      await echoed(channel, bytes, `binary of ${size}`);
    }
    let refused = null;
    if (Number.isFinite(limit) && limit <= 1 << 20) {
      try {
        channel.send(new Uint8Array(limit + 1));
      } catch (error) {
        refused = error.name;
      }
      expect(refused, `${limit + 1} bytes were not refused`);
    }
    await echoed(channel, 'still alive', 'after the refused message');
    channel.close();
    return { sizes, maxMessageSize: limit, refused };
  },

  async empty() {
    const channel = await open(fresh('echo:empty'));
    for (const [what, message] of [['string', ''], ['binary', new Uint8Array(0)]]) {
      await echoed(channel, message, `an empty ${what}`).catch((error) => {
        throw new Failed(`no echo of an empty ${what}: ${error.message}`);
      });
    }
    channel.close();
    return {};
  },

  async bufferedAmount() {
    const label = fresh('sink:buffered');
    const channel = await open(label);
    const [size, total, threshold] = [16_384, 256, 1 << 20];
    channel.bufferedAmountLowThreshold = threshold;
    let low = 0;
    channel.addEventListener('bufferedamountlow', () => low++);
    let peak = 0;
    for (let round = 0; round < 2; round++) {
      for (let q = 0; q < total; q++) channel.send(pattern(round * total + q, size));
      peak = Math.max(peak, channel.bufferedAmount);
      expect(channel.bufferedAmount > threshold, 'bufferedAmount did not rise', { amount: channel.bufferedAmount });
      await until(() => channel.bufferedAmount === 0, CHECK_LIMIT_MS, 'bufferedAmount falls to zero');
      await until(() => low >= round + 1, CONNECT_LIMIT_MS, 'the low event');
    }
    const seen = await counted(label, 2 * total);
    expect(low === 2, `the low event fired ${low} times for 2 crossings`);
    expect(seen.msgs === 2 * total && seen.inOrder && !seen.corrupt, 'what arrived is not what was sent', seen);
    channel.close();
    return { peak, lowEvents: low, bytes: seen.bytes };
  },

  async ordered({ count: total = 10_000, size = 128 }) {
    const label = fresh('sink:ordered');
    const channel = await open(label);
    await sendPatterned(channel, total, size);
    const seen = await counted(label, total);
    expect(seen.msgs === total && seen.inOrder && !seen.dup && !seen.corrupt, 'missing, disordered or corrupt', seen);
    channel.close();
    return seen;
  },

  async unreliable({ count: total = 2000, size = 512 }) {
    const label = fresh('sink:unreliable');
    const channel = await open(label, { ordered: false, maxRetransmits: 0 });
    await sendPatterned(channel, total, size);
    const seen = await settled(label, total);
    expect(seen.msgs > 0 && !seen.dup && !seen.corrupt, 'nothing arrived, or twice, or corrupt', seen);
    channel.close();
    return { ...seen, sent: total, lost: total - seen.msgs };
  },

  async close() {
    const other = await open(fresh('echo:bystander'));
    const gone = (label) =>
      until(
        async () => !(await ask('channels')).channels.some((entry) => entry.label === label),
        10_000,
        `${label} gone at the other side`,
      );

    const mine = await open(fresh('echo:local'));
    const id = mine.id;
    const mineClosed = once(mine, 'close', 10_000);
    mine.close();
    await mineClosed;
    await gone(mine.label);

    const theirs = await open(fresh('echo:remote'));
    const theirsClosed = once(theirs, 'close', 10_000);
    await ask('close', { label: theirs.label });
    await theirsClosed;
    await gone(theirs.label);

    // The same id again, asked for by number ...
    const again = fresh('echo:again');
    await ask('negotiate', { label: again, id, options: {} });
    const reused = await open(again, { negotiated: true, id });
    await echoed(reused, 'the id lives again', 'reused id');
    const reusedClosed = once(reused, 'close', 10_000);
    reused.close();
    await reusedClosed;
    await gone(again);

    // ... and by whatever the implementation picks, several times over.
    const ids = new Set();
    for (let round = 0; round < 5; round++) {
      const channel = await open(fresh('echo:round'));
      ids.add(channel.id);
      await echoed(channel, `round ${round}`, `reopened channel ${round}`);
      const closed = once(channel, 'close', 10_000);
      channel.close();
      await closed;
      await gone(channel.label);
    }
    await echoed(other, 'undisturbed', 'the bystander');
    other.close();
    return { reusedId: id, idsInFiveRounds: [...ids] };
  },

  async throughput({ bytes = 16 << 20, size = 16_384, dir = 'up' }) {
    const total = Math.ceil(bytes / size);
    const label = fresh(dir === 'up' ? 'sink:throughput' : 'source:throughput');
    const channel = await open(label);
    const from = performance.now();
    let seen;
    if (dir === 'up') {
      await sendPatterned(channel, total, size);
      seen = await counted(label, total);
    } else {
      const c = counters();
      const all = new Promise((resolve) => {
        channel.addEventListener('message', ({ data }) => {
          count(c, data);
          if (c.msgs === total) resolve();
        });
      });
      await ask('source', { label, count: total, size });
      await within(all, CHECK_LIMIT_MS, 'the last message');
      seen = report(c);
    }
    const ms = performance.now() - from;
    const bad = seen.corrupt + seen.dup + (seen.inOrder ? 0 : 1) + (total - seen.msgs);
    const detail = { dir, MB: seen.bytes / 1e6, ms: Math.round(ms), MBps: seen.bytes / 1e3 / ms, bad };
    expect(bad === 0, 'missing, disordered or corrupt', { ...detail, seen });
    channel.close();
    return detail;
  },

  iceRestart: ({ by }) => negotiate(true, by),

  renegotiate: ({ by }) => negotiate(false, by),

  async identity() {
    const all = [...(await pc.getStats()).values()];
    const transport = all.find((entry) => entry.type === 'transport');
    const seen = all.find((entry) => entry.id === transport.remoteCertificateId);
    const inSdp = [...pc.remoteDescription.sdp.matchAll(/a=fingerprint:(\S+) (\S+)/g)].map(([, hash, value]) => [hash, value]);
    const matches = inSdp.some(
      ([hash, value]) =>
        hash.toLowerCase() === seen.fingerprintAlgorithm.toLowerCase() && value.toUpperCase() === seen.fingerprint.toUpperCase(),
    );
    expect(matches, 'the certificate seen is not the one in the SDP', { seen: seen.fingerprint, inSdp });
    return { fingerprint: seen.fingerprint };
  },
};

/** What a restart changes in a description, and what nothing may change. */
function parameters(description) {
  const value = (name) => new RegExp(`^a=${name}:(.*?)\\r?$`, 'm').exec(description.sdp)?.[1];
  return { ufrag: value('ice-ufrag'), password: value('ice-pwd'), fingerprint: value('fingerprint') };
}

const descriptions = () => ({ here: parameters(pc.localDescription), there: parameters(pc.remoteDescription) });

/** The ports of the pair in use, its own first, as pages and `peerloom peer` write them; null where none is shown. */
function ports(shown) {
  const port = (end) => (typeof end === 'string' ? Number(end.split(':').pop()) : end?.port);
  const found = [port(shown.pair?.local), port(shown.pair?.remote)];
  return found.every(Boolean) ? found : null;
}

const pairs = async () => [ports(await stats()), ports((await ask('stats')).stats)];

/**
 * Whether a restart is over: both ends use a candidate of this one's new description. Until then the old pair carries,
 * and nothing in the states tells the two apart. The pairs may differ where every check nominates, as werift's do.
 */
async function restarted() {
  const [here, there] = await pairs();
  const candidates = pc.localDescription.sdp.matchAll(/^a=candidate:(?:\S+ ){5}(\d+)/gm);
  const told = [...candidates].map(([, port]) => Number(port));
  return here && there && told.includes(here[0]) && told.includes(there[1]);
}

/** Negotiates again, from here and from there (`by` asks for one of the two: `self` or `other`). */
async function negotiate(restart, by) {
  const channel = await open(fresh('echo:negotiate'));
  const turn = async (who, makeOffer) => {
    const before = descriptions();
    const shown = restart && (await pairs()).every(Boolean);
    const rounds = negotiations;
    await makeOffer();
    await until(() => negotiations > rounds, CONNECT_LIMIT_MS, `${who}: answered`);
    const after = descriptions();
    for (const end of ['here', 'there']) {
      const [old, now] = [before[end], after[end]];
      expect(old.fingerprint === now.fingerprint, `${who}: another fingerprint ${end}`);
      const changed = old.ufrag !== now.ufrag && old.password !== now.password;
      const kept = old.ufrag === now.ufrag && old.password === now.password;
      expect(restart ? changed : kept, `${who}: ${restart ? 'the old' : 'new'} credentials ${end}`);
    }
    await until(() => pc.connectionState === 'connected', CONNECT_LIMIT_MS, `${who}: connected`);
    if (shown) await until(restarted, CONNECT_LIMIT_MS, `${who}: over at both ends`);
    await echoed(channel, 'after', `${who}: the channel lives on`);
    const another = await open(fresh('echo:negotiated'));
    await echoed(another, 'new', `${who}: a new channel`);
    another.close();
  };
  if (by !== 'other') await turn('offer', () => inTurn(() => offer(restart)));
  const theirs = by !== 'self' && ((await ask('ping')).features?.includes('offer') ?? false);
  expect(theirs || by !== 'other', 'the other side cannot be asked to offer');
  if (theirs) await turn('their offer', () => ask('offer', { iceRestart: restart }));
  channel.close();
  return { theirs };
}

export async function check({ name, args = {} }) {
  if (!checks[name]) throw new Failed(`cannot drive ${name}`);
  if (name !== 'connect' && name !== 'noConnect') await connectCtl();
  return within(checks[name](args), args.timeout ?? CHECK_LIMIT_MS, name);
}
