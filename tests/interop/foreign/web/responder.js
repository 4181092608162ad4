// The connection, its signalling, and what the other side asks for in-band.

import { count, counters, report, sendPatterned } from './pattern.js';
import { emit, log } from './tools.js';

/** The RTCPeerConnection, once it was asked for. */
export let pc = null;
let product = {};
/** How many offers were answered, by either side. */
export let negotiations = 0;
/** Candidates that came before the description. */
const early = [];
/** Every channel of this connection, in the order of its coming. */
const channels = [];
/** Counters of `sink:*` channels opened by the other side, by label. */
const sinks = new Map();

/** What this is, for whoever asks. */
export function setProduct(what) {
  product = what;
}

/** Commands run one after another, so that an answer never overtakes its offer. */
let turn = Promise.resolve();
export const inTurn = (work) => {
  turn = turn.then(work, work);
  return turn;
};

export async function create(config) {
  pc = new RTCPeerConnection(config ?? {});
  pc.onicecandidate = ({ candidate }) => {
    const line = { ev: 'signal', candidate: candidate ? candidate.toJSON() : null };
    if (held) held.push(line);
    else emit(line);
  };
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

/** Candidates that came while a description was being set: they go after it. */
let held = null;

async function setLocal(made) {
  held = [];
  try {
    await pc.setLocalDescription(made);
    const { type, sdp } = pc.localDescription;
    emit({ ev: 'signal', description: { type, sdp } });
  } finally {
    for (const line of held) emit(line);
    held = null;
  }
}

export async function offer(iceRestart) {
  if (!pc.localDescription) remember(pc.createDataChannel('boot'));
  await setLocal(await pc.createOffer({ iceRestart: Boolean(iceRestart) }));
  return {};
}

export async function signal({ description, candidate }) {
  if (description) {
    await pc.setRemoteDescription(description);
    for (const one of early.splice(0)) await pc.addIceCandidate(one);
    if (description.type === 'offer') {
      await setLocal(await pc.createAnswer());
    }
    negotiations++;
  } else if (!pc || !pc.remoteDescription) {
    if (candidate) early.push(candidate);
  } else {
    await pc.addIceCandidate(candidate ?? undefined);
  }
  return {};
}

export function remember(channel) {
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
  if (channel.label === 'ctl') onMessage(channel, (data) => answer(channel, data));
  else if (channel.label.startsWith('echo:')) echo(channel);
  else if (channel.label.startsWith('sink:')) {
    const c = counters();
    sinks.set(channel.label, c);
    onMessage(channel, (data) => count(c, data));
  }
}

const onMessage = (channel, take) => channel.addEventListener('message', ({ data }) => take(data));

function echo(channel) {
  const send = (data) => {
    if (channel.readyState === 'open') channel.send(data);
  };
  onMessage(channel, (data) => {
    // Chromium may deliver to a negotiated channel before it calls it open.
    if (channel.readyState === 'connecting') channel.addEventListener('open', () => send(data), { once: true });
    else send(data);
  });
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
      return product;
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
    case 'offer':
      await inTurn(() => offer(request.iceRestart));
      return { ok: true };
    case 'stats':
      return { stats: await stats() };
    default:
      throw new Error(`unknown op ${request.op}`);
  }
}

export async function stats() {
  const all = [...(await pc.getStats()).values()];
  const candidate = (id) => {
    const found = all.find((entry) => entry.id === id);
    return found && { type: found.candidateType, protocol: found.protocol, address: found.address, port: found.port };
  };
  // Where several are nominated, Firefox marks the one in use, and others name it in the transport's entry.
  const known = all.filter((entry) => entry.type === 'candidate-pair');
  const used = all.find((entry) => entry.type === 'transport')?.selectedCandidatePairId;
  const pair =
    known.find((entry) => entry.id === used || entry.selected) ?? known.find((entry) => entry.nominated);
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
