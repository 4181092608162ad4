package main

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

const (
	highWater = 1 << 20
	// More than any message under test.
	readBuffer = 1 << 17
)

// stack makes connections whose ends are both here.
type stack struct {
	api *webrtc.API
	// The relay's addresses for the near and the far end, where there is one.
	viaNear, viaFar string
}

func newStack(via string) (*stack, error) {
	var settings webrtc.SettingEngine
	settings.DetachDataChannels()
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(net.IP.IsLoopback)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s := &stack{api: webrtc.NewAPI(webrtc.WithSettingEngine(settings))}
	if via == "" {
		return s, nil
	}
	addresses := strings.Split(via, ",")
	if len(addresses) != 3 {
		return nil, fmt.Errorf("--via %s: give three addresses, with commas between", via)
	}
	s.viaNear, s.viaFar = addresses[0], addresses[1]
	return s, nil
}

// ends are both ends of a connection that have not met yet.
type ends struct{ near, far *webrtc.PeerConnection }

func (s *stack) ends() (ends, error) {
	near, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return ends{}, err
	}
	far, err := s.api.NewPeerConnection(webrtc.Configuration{})
	return ends{near, far}, err
}

// channel is one end of a data channel.
type channel struct {
	raw io.ReadWriteCloser
	dc  *webrtc.DataChannel
	low chan struct{}
}

type link struct {
	ends      ends
	near, far *channel
}

func (s *stack) connect(e ends, reliable bool) (*link, error) {
	var init *webrtc.DataChannelInit
	if !reliable {
		ordered, none := false, uint16(0)
		init = &webrtc.DataChannelInit{Ordered: &ordered, MaxRetransmits: &none}
	}
	nearOpen, farOpen := make(chan *channel, 1), make(chan *channel, 1)
	dc, err := e.near.CreateDataChannel("bench", init)
	if err != nil {
		return nil, err
	}
	opened(dc, nearOpen)
	e.far.OnDataChannel(func(dc *webrtc.DataChannel) { opened(dc, farOpen) })
	if err := s.negotiate(e); err != nil {
		return nil, err
	}
	return &link{e, <-nearOpen, <-farOpen}, nil
}

func opened(dc *webrtc.DataChannel, to chan<- *channel) {
	dc.OnOpen(func() {
		raw, err := dc.Detach()
		if err != nil {
			return // whoever waits for it is ended by the runner
		}
		c := &channel{raw, dc, make(chan struct{}, 1)}
		dc.SetBufferedAmountLowThreshold(highWater / 2)
		dc.OnBufferedAmountLow(func() {
			select {
			case c.low <- struct{}{}:
			default:
			}
		})
		to <- c
	})
}

func (s *stack) negotiate(e ends) error {
	offer, err := e.near.CreateOffer(nil)
	if err != nil {
		return err
	}
	if offer, err = described(e.near, offer, s.viaFar); err != nil {
		return err
	}
	if err := e.far.SetRemoteDescription(offer); err != nil {
		return err
	}
	answer, err := e.far.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if answer, err = described(e.far, answer, s.viaNear); err != nil {
		return err
	}
	return e.near.SetRemoteDescription(answer)
}

var candidate = regexp.MustCompile(`(?m)^(a=candidate:\S+ \S+ \S+ \S+) \S+ \S+`)

// described is the description with all its candidates, behind the relay where
// there is one.
func described(pc *webrtc.PeerConnection, d webrtc.SessionDescription, to string) (webrtc.SessionDescription, error) {
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(d); err != nil {
		return d, err
	}
	<-gathered
	d = *pc.LocalDescription()
	if host, port, ok := strings.Cut(to, ":"); ok {
		d.SDP = candidate.ReplaceAllString(d.SDP, "${1} "+host+" "+port)
	}
	return d, nil
}

// send hands over a message, as soon as the stack asks for more. Nothing is sent
// while it waits, so the amount can only fall, and Pion tells when it does.
func (c *channel) send(message []byte) error {
	for c.dc.BufferedAmount() > highWater {
		<-c.low
	}
	_, err := c.raw.Write(message)
	return err
}
