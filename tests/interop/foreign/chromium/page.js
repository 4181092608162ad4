// The page's half of the Chromium peer: one ordinary RTCPeerConnection that
// answers the in-band requests of the other side (responder) and drives checks
// of its own (driver). It uses web APIs only; `window.peerEmit` carries a line
// to the outside.
'use strict';

const peer = (() => {
  const TEXT = new TextEncoder();
  const CHECK_LIMIT_MS = 60_000;
  /** A sink that may lose messages has got all it will get when it counted nothing for this long. */
  const QUIET_MS = 1000;
  const CONNECT_LIMIT_MS = 20_000;
  /** Messages above this size are checked by sequence number and last byte only. */
  const FULL_CHECK_BYTES = 4096;
  /** Senders pause above this many buffered bytes; Chromium refuses at 16 MiB. */
  const SEND_HIGH_WATER = 1 << 20;

  let product = 'unknown';
  let pc = null;
  /** Candidates that came before the description. */
  let early = [];
  /** Every channel of this connection, in the order of its coming. */
  const channels = [];
  /** Counters of `sink:*` channels opened by the other side, by label. */
  const sinks = new Map();
  let ctl = null;

  const emit = (line) => window.peerEmit(JSON.stringify(line));
  const log = (msg) => emit({ ev: 'log', msg: String(msg) });
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  // ---- signalling --------------------------------------------------------

  /** Commands run one after another, so that an answer never overtakes its offer. */
  let turn = Promise.resolve();
  const inTurn = (work) => {
    turn = turn.then(work, work);
    return turn;
  };

  async function create(config) {
    pc = new RTCPeerConnection(config ?? {});
    pc.onicecandidate = ({ candidate }) => emit({ ev: 'signal', candidate: candidate && candidate.toJSON() });
    const state = () =>
      emit({
        ev: 'state',
        connection: pc.connectionState,
        ice: pc.iceConnectionState,
        gathering: pc.iceGatheringState,
        signaling: pc.signalingState,
      });
    pc.onconnectionstatechange = state;
    pc.oniceconnectionstatechange = state;
    pc.onicegatheringstatechange = state;
    pc.onsignalingstatechange = state;
    pc.ondatachannel = ({ channel }) => accept(channel);
    return {};
  }

  async function offer(iceRestart) {
    if (!pc.localDescription) remember(pc.createDataChannel('boot'));
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: Boolean(iceRestart) }));
    emit({ ev: 'signal', description: pc.localDescription.toJSON() });
    return {};
  }

  async function signal({ description, candidate }) {
    if (description) {
      await pc.setRemoteDescription(description);
      for (const one of early.splice(0)) await pc.addIceCandidate(one);
      if (description.type === 'offer') {
        await pc.setLocalDescription(await pc.createAnswer());
        emit({ ev: 'signal', description: pc.localDescription.toJSON() });
      }
    } else if (!pc || !pc.remoteDescription) {
      if (candidate) early.push(candidate);
    } else {
      await pc.addIceCandidate(candidate ?? undefined);
    }
    return {};
  }

  // ---- pattern -----------------------------------------------------------

  function pattern(q, size) {
    const bytes = new Uint8Array(size);
    new DataView(bytes.buffer).setUint32(0, q);
    for (let i = 4; i < size; i++) bytes[i] = (q * 31 + i * 7) & 255;
    return bytes;
  }

  function counters() {
    return { msgs: 0, bytes: 0, inOrder: true, dup: 0, corrupt: 0, min: null, max: null, last: -1, seen: new Set(), from: null, to: null };
  }

  function count(c, data) {
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

  function report(c) {
    const { seen, from, to, ...rest } = c;
    return { ...rest, ms: from === null ? 0 : Math.round(to - from) };
  }

  /** Sends `total` patterned messages, pausing while the buffer is full. */
  async function sendPatterned(channel, total, size) {
    channel.bufferedAmountLowThreshold = SEND_HIGH_WATER / 2;
    for (let q = 0; q < total; q++) {
      if (channel.bufferedAmount > SEND_HIGH_WATER) await once(channel, 'bufferedamountlow', CHECK_LIMIT_MS);
      channel.send(pattern(q, size));
    }
  }

  // ---- responder ---------------------------------------------------------

  function remember(channel) {
    channel.binaryType = 'arraybuffer';
    channels.push(channel);
    channel.addEventListener('close', () => emit({ ev: 'channelClosed', label: channel.label }));
    return channel;
  }

  function describe(channel) {
    return {
      label: channel.label,
      protocol: channel.protocol,
      ordered: channel.ordered,
      maxRetransmits: channel.maxRetransmits,
      maxPacketLifeTime: channel.maxPacketLifeTime,
      negotiated: channel.negotiated,
      id: channel.id,
      state: channel.readyState,
    };
  }

  function accept(channel) {
    remember(channel);
    emit({ ev: 'channel', ...describe(channel) });
    if (channel.label === 'ctl') channel.onmessage = ({ data }) => answer(channel, data);
    else if (channel.label.startsWith('echo:')) echo(channel);
    else if (channel.label.startsWith('sink:')) {
      const c = counters();
      sinks.set(channel.label, c);
      channel.onmessage = ({ data }) => count(c, data);
    }
  }

  function echo(channel) {
    const send = (data) => {
      if (channel.readyState === 'open') channel.send(data);
    };
    channel.onmessage = ({ data }) => {
      // Chromium may deliver to a negotiated channel before it calls it open.
      if (channel.readyState === 'connecting') channel.addEventListener('open', () => send(data), { once: true });
      else send(data);
    };
  }

  async function answer(channel, text) {
    let request = {};
    let reply;
    try {
      request = JSON.parse(text);
      reply = await operate(request);
    } catch (error) {
      reply = { error: String(error) };
    }
    if (channel.readyState === 'open') channel.send(JSON.stringify({ rid: request.rid, ...reply }));
  }

  const live = (label) => {
    const found = channels.findLast((channel) => channel.label === label && channel.readyState !== 'closed');
    if (!found) throw new Error(`no channel labelled ${label}`);
    return found;
  };

  async function operate(request) {
    switch (request.op) {
      case 'ping':
        return { impl: 'chromium', version: product, features: [] };
      case 'channels':
        return { channels: channels.filter((channel) => channel.readyState !== 'closed').map(describe) };
      case 'negotiate':
        echo(remember(pc.createDataChannel(request.label, { ...request.options, negotiated: true, id: request.id })));
        return { ok: true };
      case 'close':
        live(request.label).close();
        return { ok: true };
      case 'sinkReport': {
        const c = sinks.get(request.label);
        if (!c) throw new Error(`no sink labelled ${request.label}`);
        return report(c);
      }
      case 'source': {
        const channel = live(request.label);
        // After the reply, as the protocol asks.
        setTimeout(() => sendPatterned(channel, request.count, request.size).catch(log), 0);
        return { ok: true };
      }
      case 'stats':
        return { stats: await stats() };
      default:
        throw new Error(`unknown op ${request.op}`);
    }
  }

  async function stats() {
    const all = [...(await pc.getStats()).values()];
    const candidate = (id) => {
      const found = all.find((entry) => entry.id === id);
      return found && { type: found.candidateType, protocol: found.protocol, address: found.address, port: found.port };
    };
    const pair = all.find((entry) => entry.type === 'candidate-pair' && entry.nominated);
    return {
      inbound: all
        .filter((entry) => entry.type === 'inbound-rtp')
        .map(({ kind, packetsReceived, framesDecoded }) => ({ kind, packetsReceived, framesDecoded })),
      transport: all
        .filter((entry) => entry.type === 'transport')
        .map(({ dtlsState, tlsVersion, dtlsCipher, dtlsRole }) => ({ dtlsState, tlsVersion, dtlsCipher, dtlsRole })),
      pair: pair && { local: candidate(pair.localCandidateId), remote: candidate(pair.remoteCandidateId) },
    };
  }

  // ---- driver: tools -----------------------------------------------------

  class Failed extends Error {
    constructor(message, detail = {}) {
      super(message);
      this.detail = detail;
    }
  }

  const expect = (truth, step, detail) => {
    if (!truth) throw new Failed(step, detail);
  };

  function within(promise, ms, what) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Failed(`${what}: nothing within ${ms} ms`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  const once = (target, event, ms) =>
    within(new Promise((resolve) => target.addEventListener(event, resolve, { once: true })), ms, event);

  /** Polls `test` until it holds; for state that no event announces. */
  async function until(test, ms, what) {
    const end = performance.now() + ms;
    for (;;) {
      const value = await test();
      if (value) return value;
      if (performance.now() > end) throw new Failed(`${what}: not within ${ms} ms`);
      await sleep(20);
    }
  }

  let serial = 0;
  const fresh = (prefix) => `${prefix}-${++serial}`;

  async function open(label, options) {
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

  async function ask(op, fields = {}) {
    const id = ++rid;
    const reply = new Promise((resolve) => asked.set(id, resolve));
    ctl.send(JSON.stringify({ rid: id, op, ...fields }));
    const { error, ...rest } = await within(reply, 30_000, `ctl ${op}`);
    if (error) throw new Failed(`ctl ${op}: ${error}`);
    return rest;
  }

  async function connectCtl() {
    if (ctl && ctl.readyState === 'open') return;
    ctl = remember(pc.createDataChannel('ctl'));
    ctl.onmessage = ({ data }) => {
      const reply = JSON.parse(data);
      const resolve = asked.get(reply.rid);
      asked.delete(reply.rid);
      resolve?.(reply);
    };
    await once(ctl, 'open', CONNECT_LIMIT_MS);
  }

  const same = (a, b) => {
    if (typeof a === 'string' || typeof b === 'string') return a === b;
    const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
    return x.length === y.length && x.every((byte, i) => byte === y[i]);
  };

  async function echoed(channel, data, step) {
    channel.send(data);
    const back = await channel.next();
    const kind = typeof data === 'string' ? 'string' : 'binary';
    expect((typeof back === 'string' ? 'string' : 'binary') === kind, `${step}: ${kind} came back as another kind`);
    expect(same(data, back), `${step}: came back changed`);
  }

  /** Waits until the other side has counted all. */
  const counted = (label, total) =>
    until(
      async () => {
        const seen = await ask('sinkReport', { label });
        return seen.msgs >= total ? seen : null;
      },
      CHECK_LIMIT_MS,
      `${total} messages on ${label}`,
    );

  /** Waits until it has counted all, or nothing more for a while: for channels that may lose messages. */
  async function settled(label, total) {
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

  // ---- driver: checks ----------------------------------------------------

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

  const checks = {
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
      const sizes = [0, 1, 1024, 65_536, largest].filter((size) => size <= largest);
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

    async iceRestart() {
      const ufrag = (description) => /a=ice-ufrag:(\S+)/.exec(description.sdp)[1];
      const before = [ufrag(pc.localDescription), ufrag(pc.remoteDescription)];
      await inTurn(() => offer(true));
      await until(
        () =>
          pc.signalingState === 'stable' &&
          ufrag(pc.localDescription) !== before[0] &&
          ufrag(pc.remoteDescription) !== before[1],
        CONNECT_LIMIT_MS,
        'new credentials at both ends',
      );
      await until(() => pc.connectionState === 'connected', CONNECT_LIMIT_MS, 'connected again');
      await ask('ping');
      return stats();
    },

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

  async function check({ name, args = {} }) {
    if (!checks[name]) throw new Failed(`cannot drive ${name}`);
    if (name !== 'connect' && name !== 'noConnect') await connectCtl();
    return within(checks[name](args), args.timeout ?? CHECK_LIMIT_MS, name);
  }

  // ---- the outside -------------------------------------------------------

  async function result(id, work) {
    try {
      emit({ ev: 'result', id, ok: true, detail: await work });
    } catch (error) {
      emit({ ev: 'result', id, ok: false, detail: { error: String(error.message ?? error), ...(error.detail ?? {}) } });
    }
  }

  function line(command) {
    switch (command.cmd) {
      case 'create':
        return result(command.id, inTurn(() => create(command.config)));
      case 'offer':
        return result(command.id, inTurn(() => offer(command.iceRestart)));
      case 'signal':
        return inTurn(() => signal(command)).catch((error) => log(`signal: ${error}`));
      case 'check':
        return result(command.id, check(command));
      case 'stats':
        return result(command.id, stats());
      case 'close':
        pc?.close();
        return result(command.id, {});
      default:
        return result(command.id, Promise.reject(new Error(`unknown command ${command.cmd}`)));
    }
  }

  return {
    line,
    start(version) {
      product = version;
      emit({ ev: 'ready', impl: 'chromium', version, features: ['trickle'], checks: Object.keys(checks) });
    },
    /** Real host addresses instead of mDNS names: what a page with the camera gets. */
    async revealAddresses() {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      for (const track of stream.getTracks()) track.stop();
    },
  };
})();
