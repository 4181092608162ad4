package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"
)

// Options are the options of negotiate.
type Options struct {
	Ordered           *bool   `json:"ordered"`
	MaxRetransmits    *uint16 `json:"maxRetransmits"`
	MaxPacketLifeTime *uint16 `json:"maxPacketLifeTime"`
	Protocol          string  `json:"protocol"`
}

// Request is what the other side asks for on ctl.
type Request struct {
	Rid        any     `json:"rid"`
	Op         string  `json:"op"`
	Label      string  `json:"label"`
	ID         uint16  `json:"id"`
	Options    Options `json:"options"`
	Count      uint32  `json:"count"`
	Size       int     `json:"size"`
	ICERestart bool    `json:"iceRestart"`
}

func (p *Peer) remember(dc *webrtc.DataChannel) *channel {
	made := &channel{dc: dc}
	p.mutex.Lock()
	p.channels = append(p.channels, made)
	p.mutex.Unlock()
	dc.OnClose(func() { emit(object{"ev": "channelClosed", "label": dc.Label()}) })
	return made
}

// Serves a channel that the other side opened.
func (p *Peer) accept(dc *webrtc.DataChannel) {
	made := &channel{dc: dc}
	switch label := dc.Label(); {
	case label == "ctl":
		dc.OnMessage(func(message webrtc.DataChannelMessage) { go p.answer(dc, message.Data) })
	case strings.HasPrefix(label, "echo:"):
		made.echo()
	case strings.HasPrefix(label, "sink:"):
		made.sink = newCounters()
		dc.OnMessage(func(message webrtc.DataChannelMessage) { made.sink.count(message.Data) })
	}
	dc.OnClose(func() { emit(object{"ev": "channelClosed", "label": dc.Label()}) })
	p.mutex.Lock()
	p.channels = append(p.channels, made)
	p.mutex.Unlock()
	line := made.describe()
	line["ev"] = "channel"
	emit(line)
}

func (p *Peer) answer(dc *webrtc.DataChannel, text []byte) {
	var request Request
	reply, err := object{}, json.Unmarshal(text, &request)
	if err == nil {
		reply, err = p.operate(request)
	}
	if err != nil {
		reply = object{"error": err.Error()}
	}
	reply["rid"] = request.Rid
	line, err := json.Marshal(reply)
	if err == nil {
		err = dc.SendText(string(line))
	}
	if err != nil {
		log("ctl: " + err.Error())
	}
}

func (p *Peer) operate(request Request) (object, error) {
	ok := object{"ok": true}
	switch request.Op {
	case "ping":
		return object{"impl": "pion", "version": version(), "features": features}, nil
	case "channels":
		return object{"channels": p.open()}, nil
	case "negotiate":
		return ok, p.negotiate(request)
	case "close":
		found, err := p.find(request.Label)
		if err == nil {
			err = found.dc.Close()
		}
		return ok, err
	case "sinkReport":
		found, err := p.find(request.Label)
		if err != nil || found.sink == nil {
			return nil, fmt.Errorf("no sink labelled %s", request.Label)
		}
		return found.sink.report(), nil
	case "source":
		found, err := p.find(request.Label)
		if err == nil {
			go found.source(request.Count, request.Size)
		}
		return ok, err
	case "offer":
		return ok, p.offer(request.ICERestart)
	case "stats":
		return object{"stats": p.stats()}, nil
	default:
		return nil, fmt.Errorf("unknown op %s", request.Op)
	}
}

func (p *Peer) negotiate(request Request) error {
	yes, options := true, request.Options
	dc, err := p.pc.CreateDataChannel(request.Label, &webrtc.DataChannelInit{
		Ordered:           options.Ordered,
		MaxRetransmits:    options.MaxRetransmits,
		MaxPacketLifeTime: options.MaxPacketLifeTime,
		Protocol:          &options.Protocol,
		Negotiated:        &yes,
		ID:                &request.ID,
	})
	if err == nil {
		p.remember(dc).echo()
	}
	return err
}

// The channels that are not closed.
func (p *Peer) open() []object {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	described := []object{}
	for _, one := range p.channels {
		if one.dc.ReadyState() != webrtc.DataChannelStateClosed {
			described = append(described, one.describe())
		}
	}
	return described
}

// The latest channel with this label.
func (p *Peer) find(label string) (*channel, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, one := range slices.Backward(p.channels) {
		if one.dc.Label() == label {
			return one, nil
		}
	}
	return nil, fmt.Errorf("no channel labelled %s", label)
}
