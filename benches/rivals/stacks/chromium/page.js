// The workloads, in a page. `cpu` and `resident` come from ./rival.mjs.

const HIGH_WATER = 1 << 20;
// The same as in ../../kit/src/workloads.rs, in milliseconds.
const WARM_UP = 500;
const WARM_UP_LOSSY = 1500;
const DRAIN = 300;
const SETTLE = 2000;
const CONCURRENT = 16;
const HELLO = new Uint8Array(64);
const WARM_UP_ECHOES = 200;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function mark() {
  const [at, spent] = [performance.now(), await cpu()];
  return async () => ({ seconds: (performance.now() - at) / 1000, cpu: (await cpu()) - spent });
}

/** One end of a data channel. */
class Channel {
  received = 0;
  sent = 0;
  arrived = () => {};

  constructor(channel) {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.bufferedAmountLowThreshold = HIGH_WATER / 2;
    channel.onmessage = ({ data }) => {
      this.received += data.byteLength;
      this.arrived();
    };
    this.open =
      channel.readyState === 'open'
        ? Promise.resolve()
        : new Promise((resolve) => {
            channel.onopen = resolve;
          });
  }

  /** Keeps the channel full until `over()`. */
  async fill(size, over) {
    const message = new Uint8Array(size);
    while (!over()) {
      while (this.channel.bufferedAmount <= HIGH_WATER) {
        this.channel.send(message);
        this.sent += 1;
      }
      await new Promise((resolve) => {
        this.channel.onbufferedamountlow = resolve;
      });
    }
  }

  async reaches(received) {
    while (this.received < received) {
      await new Promise((resolve) => {
        this.arrived = resolve;
      });
    }
  }
}

/** The candidate, behind the relay where there is one. */
function through(candidate, to) {
  if (!candidate || !to) return candidate;
  const fields = candidate.candidate.split(' ');
  [fields[4], fields[5]] = to.split(':');
  return { ...candidate.toJSON(), candidate: fields.join(' ') };
}

/** Two ends of a connection. */
class Link {
  connections = [new RTCPeerConnection(), new RTCPeerConnection()];

  async connect(reliable, via) {
    const [near, far] = this.connections;
    const trickle = (from, to, address) => {
      // UDP only: the relay carries nothing else.
      from.onicecandidate = ({ candidate }) => {
        if (!candidate || candidate.protocol === 'udp') to.addIceCandidate(through(candidate, address));
      };
    };
    const accepted = new Promise((resolve) => {
      far.ondatachannel = ({ channel }) => resolve(new Channel(channel));
    });
    const promise = reliable ? {} : { ordered: false, maxRetransmits: 0 };
    this.near = new Channel(near.createDataChannel('bench', promise));
    await near.setLocalDescription();
    const offer = near.localDescription;
    trickle(far, near, via?.[0]);
    await far.setRemoteDescription(offer);
    trickle(near, far, via?.[1]);
    await far.setLocalDescription();
    await near.setRemoteDescription(far.localDescription);
    await this.near.open;
    this.far = await accepted;
    await this.far.open;
    return this;
  }

  async hello() {
    this.near.channel.send(HELLO);
    await this.far.reaches(HELLO.length);
  }

  close() {
    for (const connection of this.connections) connection.close();
  }
}

function percentiles(values) {
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.round((values.length - 1) * share)];
  return { p50: at(0.5), p99: at(0.99), count: values.length };
}

async function bulk({ size, seconds, via }) {
  const link = await new Link().connect(true, via);
  link.near.fill(size, () => false);
  await sleep(via ? WARM_UP_LOSSY : WARM_UP);
  const [elapsed, before] = [await mark(), link.far.received];
  await sleep(seconds * 1000);
  const bytes = link.far.received - before;
  return { bytes, ...(await elapsed()) };
}

async function messages({ size, seconds }) {
  const link = await new Link().connect(false);
  let stop = false;
  const filling = link.near.fill(size, () => stop);
  await sleep(WARM_UP);
  const [elapsed, before] = [await mark(), link.far.received];
  await sleep(seconds * 1000);
  const after = link.far.received;
  const took = await elapsed();
  stop = true;
  await filling;
  let arrived = after;
  for (;;) {
    await sleep(DRAIN);
    if (link.far.received === arrived) break;
    arrived = link.far.received;
  }
  const lost = 1 - arrived / size / Math.max(link.near.sent, 1);
  return { received: (after - before) / size, lost: Math.max(lost, 0), ...took };
}

async function echo({ size, seconds }) {
  const link = await new Link().connect(true);
  link.far.channel.onmessage = ({ data }) => link.far.channel.send(data);
  const message = new Uint8Array(size);
  const took = [];
  let until = Infinity;
  for (let left = WARM_UP_ECHOES; performance.now() < until; left -= 1) {
    const from = performance.now();
    link.near.channel.send(message);
    await link.near.reaches(link.near.received + size);
    if (left < 0) took.push((performance.now() - from) * 1000);
    else if (left === 0) until = performance.now() + seconds * 1000;
  }
  return percentiles(took);
}

async function setup({ count, seconds }) {
  const until = performance.now() + seconds * 1000;
  const took = [];
  // The first pays for what is loaded for the first time.
  for (let round = 0; round <= count; round += 1) {
    const link = new Link();
    const from = performance.now();
    await link.connect(true);
    await link.hello();
    if (round > 0) {
      took.push(performance.now() - from);
      if (performance.now() > until) break;
    }
    link.close();
  }
  return percentiles(took);
}

/** Connections each of which has carried a message. */
async function links(count) {
  const made = [];
  let left = count;
  const some = async () => {
    while (left > 0) {
      left -= 1;
      const link = await new Link().connect(true);
      await link.hello();
      made.push(link);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, some));
  return made;
}

async function idle({ count, seconds }) {
  // What the first connection allocates for all of them is none of theirs.
  const first = await links(1);
  await sleep(SETTLE);
  const [before, began] = [await resident(), performance.now()];
  const made = await links(count);
  const took = (performance.now() - began) / 1000;
  await sleep(SETTLE);
  const elapsed = await mark();
  await sleep(seconds * 1000);
  const spent = await elapsed();
  const kib = Math.max((await resident()) - before, 0) / 1024 / made.length;
  // All of them are still in use.
  globalThis.kept = [first, made];
  return { kib, idle: spent.cpu / spent.seconds, setup: took };
}

async function star({ size, count, seconds }) {
  const made = await links(count);
  for (const link of made) link.near.fill(size, () => false);
  await sleep(WARM_UP);
  const received = () => made.map((link) => link.far.received);
  const [elapsed, before] = [await mark(), received()];
  await sleep(seconds * 1000);
  const moved = received().map((after, at) => after - before[at]);
  const bytes = moved.reduce((sum, value) => sum + value, 0);
  const least = (Math.min(...moved) * moved.length) / Math.max(bytes, 1);
  return { bytes, ...(await elapsed()), least };
}

const WORKLOADS = { W1: bulk, W2: messages, W3: echo, W4: setup, W5: idle, W6: star, W7: bulk };

globalThis.run = async (options) => {
  try {
    return await WORKLOADS[options.workload](options);
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
};
