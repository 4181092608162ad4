package main

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// Messages above this size are checked by sequence number and last byte only.
const fullCheckBytes = 4096

// Senders pause above this many buffered bytes, and go on below a half of it.
const sendHighWater = 1 << 20

// A channel of either side's.
type channel struct {
	dc   *webrtc.DataChannel
	sink *counters
}

func (c *channel) describe() object {
	return object{
		"label":             c.dc.Label(),
		"protocol":          c.dc.Protocol(),
		"ordered":           c.dc.Ordered(),
		"maxRetransmits":    c.dc.MaxRetransmits(),
		"maxPacketLifeTime": c.dc.MaxPacketLifeTime(),
		"negotiated":        c.dc.Negotiated(),
		"id":                c.dc.ID(),
		"state":             c.dc.ReadyState().String(),
	}
}

// Sends every message back unchanged.
func (c *channel) echo() {
	c.dc.OnMessage(func(message webrtc.DataChannelMessage) {
		var err error
		if message.IsString {
			err = c.dc.SendText(string(message.Data))
		} else {
			err = c.dc.Send(message.Data)
		}
		if err != nil {
			log("echo: " + err.Error())
		}
	})
}

// Sends numbered messages, pausing while the buffer is full.
func (c *channel) source(count uint32, size int) {
	room := make(chan struct{}, 1)
	c.dc.SetBufferedAmountLowThreshold(sendHighWater / 2)
	c.dc.OnBufferedAmountLow(func() {
		select {
		case room <- struct{}{}:
		default: // it was told already
		}
	})
	for q := uint32(0); q < count; q++ {
		for c.dc.BufferedAmount() > sendHighWater {
			<-room
		}
		if err := c.dc.Send(pattern(q, size)); err != nil {
			log("source: " + err.Error())
			return
		}
	}
}

func pattern(q uint32, size int) []byte {
	message := make([]byte, size)
	binary.BigEndian.PutUint32(message, q)
	for i := 4; i < size; i++ {
		message[i] = patterned(q, i)
	}
	return message
}

func patterned(q uint32, i int) byte { return byte(q*31 + uint32(i)*7) }

// What a sink has seen.
type counters struct {
	mutex                     sync.Mutex
	msgs, bytes, dup, corrupt int
	disordered                bool
	min, max, last            int64
	seen                      map[uint32]bool
	from, to                  time.Time
}

func newCounters() *counters {
	return &counters{min: -1, max: -1, last: -1, seen: map[uint32]bool{}}
}

func (c *counters) count(message []byte) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.to = time.Now()
	if c.msgs == 0 {
		c.from = c.to
	}
	c.msgs++
	if len(message) < 4 {
		c.corrupt++
		return
	}
	q := binary.BigEndian.Uint32(message)
	number := int64(q)
	c.bytes += len(message)
	if c.seen[q] {
		c.dup++
	}
	c.seen[q] = true
	c.disordered = c.disordered || number != c.last+1
	c.last = number
	if c.min < 0 || number < c.min {
		c.min = number
	}
	c.max = max(c.max, number)
	first := 4
	if len(message) > fullCheckBytes {
		first = len(message) - 1
	}
	for i := first; i < len(message); i++ {
		if message[i] != patterned(q, i) {
			c.corrupt++
			return
		}
	}
}

func (c *counters) report() object {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return object{
		"msgs": c.msgs, "bytes": c.bytes, "inOrder": !c.disordered, "dup": c.dup, "corrupt": c.corrupt,
		"min": c.min, "max": c.max, "last": c.last, "ms": c.to.Sub(c.from).Milliseconds(),
	}
}
