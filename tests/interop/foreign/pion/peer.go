package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// Config is the config of create.
type Config struct {
	ICEServers []struct {
		URLs       json.RawMessage `json:"urls"`
		Username   string          `json:"username"`
		Credential string          `json:"credential"`
	} `json:"iceServers"`
	ICETransportPolicy string `json:"iceTransportPolicy"`
}

// Command is one line of stdin.
type Command struct {
	Cmd         string                     `json:"cmd"`
	ID          any                        `json:"id"`
	Config      Config                     `json:"config"`
	ICERestart  bool                       `json:"iceRestart"`
	Description *webrtc.SessionDescription `json:"description"`
	Candidate   *webrtc.ICECandidateInit   `json:"candidate"`
}

// Peer is one peer connection and the channels of it.
type Peer struct {
	pc *webrtc.PeerConnection

	telling sync.Mutex
	// Whether a description is being set. Its candidates are told after it; Pion may come with one
	// from within SetLocalDescription.
	describing bool
	held       []object

	// Candidates that came before their description.
	early []webrtc.ICECandidateInit

	mutex    sync.Mutex
	channels []*channel
}

func create(config Config) (*Peer, error) {
	settings := webrtc.SettingEngine{}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeQueryOnly)
	if os.Getenv("PEER_MDNS") != "" {
		settings.SetICEMulticastDNSMode(ice.MulticastDNSModeQueryAndGather)
	}
	if os.Getenv("PEER_TCP") != "" {
		if err := acceptTCP(&settings); err != nil {
			return nil, err
		}
	}
	configuration := webrtc.Configuration{}
	if config.ICETransportPolicy == "relay" {
		configuration.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	for _, server := range config.ICEServers {
		var urls []string
		if json.Unmarshal(server.URLs, &urls) != nil {
			urls = make([]string, 1)
			if err := json.Unmarshal(server.URLs, &urls[0]); err != nil {
				return nil, err
			}
		}
		configuration.ICEServers = append(configuration.ICEServers,
			webrtc.ICEServer{URLs: urls, Username: server.Username, Credential: server.Credential})
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(configuration)
	if err != nil {
		return nil, err
	}
	peer := &Peer{pc: pc}
	peer.listen()
	return peer, nil
}

// Passive candidates over TCP, beside those over UDP; connections are left to the other side.
func acceptTCP(settings *webrtc.SettingEngine) error {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	settings.DisableActiveTCP(true)
	settings.SetICETCPMux(webrtc.NewICETCPMux(nil, listener, 8))
	settings.SetNetworkTypes([]webrtc.NetworkType{
		webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6,
		webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6,
	})
	return nil
}

func (p *Peer) listen() {
	p.pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		line := object{"ev": "signal", "candidate": nil}
		if candidate != nil {
			line["candidate"] = candidate.ToJSON()
		}
		p.telling.Lock()
		defer p.telling.Unlock()
		if p.describing {
			p.held = append(p.held, line)
		} else {
			emit(line)
		}
	})
	p.pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) { p.emitState() })
	p.pc.OnICEConnectionStateChange(func(webrtc.ICEConnectionState) { p.emitState() })
	p.pc.OnICEGatheringStateChange(func(webrtc.ICEGatheringState) { p.emitState() })
	p.pc.OnSignalingStateChange(func(webrtc.SignalingState) { p.emitState() })
	p.pc.OnDataChannel(p.accept)
}

func (p *Peer) emitState() {
	emit(object{
		"ev":         "state",
		"connection": p.pc.ConnectionState().String(),
		"ice":        p.pc.ICEConnectionState().String(),
		"gathering":  p.pc.ICEGatheringState().String(),
		"signaling":  p.pc.SignalingState().String(),
	})
}

func (p *Peer) obey(command Command) {
	switch command.Cmd {
	case "offer":
		result(command.ID, p.offer(command.ICERestart))
	case "signal":
		if err := p.signal(command); err != nil {
			log("signal: " + err.Error())
		}
	case "stats":
		emit(object{"ev": "result", "id": command.ID, "ok": true, "detail": p.stats()})
	case "close":
		result(command.ID, p.pc.Close())
	default:
		result(command.ID, errors.New("unknown command "+command.Cmd))
	}
}

func (p *Peer) offer(restart bool) error {
	if p.pc.LocalDescription() == nil && p.pc.RemoteDescription() == nil {
		boot, err := p.pc.CreateDataChannel("boot", nil)
		if err != nil {
			return err
		}
		p.remember(boot)
	}
	offer, err := p.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: restart})
	if err != nil {
		return err
	}
	return p.setLocal(offer)
}

func (p *Peer) setLocal(description webrtc.SessionDescription) error {
	p.telling.Lock()
	p.describing = true
	p.telling.Unlock()
	err := p.pc.SetLocalDescription(description)
	p.telling.Lock()
	if err == nil {
		emit(object{"ev": "signal", "description": p.pc.LocalDescription()})
	}
	for _, line := range p.held {
		emit(line)
	}
	p.held, p.describing = nil, false
	p.telling.Unlock()
	return err
}

func (p *Peer) signal(command Command) error {
	if command.Description != nil {
		return p.describe(*command.Description)
	}
	if command.Candidate == nil {
		return nil // the end of candidates is not told to Pion
	}
	if p.pc.RemoteDescription() == nil {
		p.early = append(p.early, *command.Candidate)
		return nil
	}
	return p.pc.AddICECandidate(*command.Candidate)
}

func (p *Peer) describe(description webrtc.SessionDescription) error {
	if err := p.pc.SetRemoteDescription(description); err != nil {
		return err
	}
	early := p.early
	p.early = nil
	for _, candidate := range early {
		if err := p.pc.AddICECandidate(candidate); err != nil {
			log("candidate: " + err.Error())
		}
	}
	if description.Type != webrtc.SDPTypeOffer {
		return nil
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	return p.setLocal(answer)
}

func (p *Peer) stats() object {
	transport := object{"dtlsState": "new"}
	if sctp := p.pc.SCTP(); sctp != nil {
		transport["dtlsState"] = sctp.Transport().State().String()
	}
	return object{"inbound": []any{}, "transport": []any{transport}, "pair": nil}
}
