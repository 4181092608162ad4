// One ordinary RTCPeerConnection that answers the in-band requests of the other
// side (responder.js) and drives checks of its own (checks.js), in a page or in
// Node. It uses web APIs only; whoever loads it calls `peer.start` and
// `peer.line`, and gets the lines for the outside through `peerEmit`.

import { check, checks } from './checks.js';
import { create, inTurn, offer, pc, setProduct, signal, stats } from './responder.js';
import { emit, log } from './tools.js';

/** What the other side may ask for beyond channels. */
const FEATURES = ['trickle', 'offer'];

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

globalThis.peer = {
  line,
  start(impl, version) {
    const product = { impl, version, features: FEATURES };
    setProduct(product);
    emit({ ev: 'ready', ...product, checks: Object.keys(checks) });
  },
  /** Real host addresses instead of mDNS names: what a page with the camera gets. */
  async revealAddresses() {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    for (const track of stream.getTracks()) track.stop();
  },
};
