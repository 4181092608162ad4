package main

import (
	"math"
	"sort"

	"sync/atomic"
	"time"
)

// The same as in ../../kit/src/workloads.rs.
const (
	warmUp       = 500 * time.Millisecond
	warmUpLossy  = 1500 * time.Millisecond
	drain        = 300 * time.Millisecond
	settle       = 2 * time.Second
	concurrent   = 16
	helloBytes   = 64
	warmUpEchoes = 200
)

func (s *stack) link(reliable bool) (*link, error) {
	e, err := s.ends()
	if err != nil {
		return nil, err
	}
	return s.connect(e, reliable)
}

// fill sends messages of one length until told to stop.
func fill(c *channel, size int, sent *atomic.Uint64, stop *atomic.Bool) {
	message := make([]byte, size)
	for !stop.Load() {
		if c.send(message) != nil {
			return
		}
		sent.Add(1)
	}
}

func count(c *channel, received *atomic.Uint64) {
	buffer := make([]byte, readBuffer)
	for {
		n, err := c.raw.Read(buffer)
		if err != nil {
			return
		}
		received.Add(uint64(n))
	}
}

func bulk(s *stack, o options, warmUp time.Duration) (report, error) {
	l, err := s.link(true)
	if err != nil {
		return nil, err
	}
	var sent, received atomic.Uint64
	var stop atomic.Bool
	go count(l.far, &received)
	go fill(l.near, o.size, &sent, &stop)
	time.Sleep(warmUp)
	m, before := now(), received.Load()
	time.Sleep(o.duration())
	bytes := received.Load() - before
	seconds, cpu := m.elapsed()
	return report{"bytes": bytes, "seconds": seconds, "cpu": cpu}, nil
}

func messages(s *stack, o options) (report, error) {
	l, err := s.link(false)
	if err != nil {
		return nil, err
	}
	var sent, received atomic.Uint64
	var stop atomic.Bool
	go count(l.far, &received)
	go fill(l.near, o.size, &sent, &stop)
	time.Sleep(warmUp)
	m, before := now(), received.Load()
	time.Sleep(o.duration())
	after := received.Load()
	seconds, cpu := m.elapsed()
	stop.Store(true)
	arrived := after
	for {
		time.Sleep(drain)
		if received.Load() == arrived {
			break
		}
		arrived = received.Load()
	}
	size := uint64(o.size)
	lost := 1 - float64(arrived/size)/math.Max(float64(sent.Load()), 1)
	return report{
		"received": (after - before) / size, "lost": math.Max(lost, 0),
		"seconds": seconds, "cpu": cpu,
	}, nil
}

func echo(s *stack, o options) (report, error) {
	l, err := s.link(true)
	if err != nil {
		return nil, err
	}
	go func() {
		buffer := make([]byte, readBuffer)
		for {
			n, err := l.far.raw.Read(buffer)
			if err != nil || l.far.send(buffer[:n]) != nil {
				return
			}
		}
	}()
	message, buffer := make([]byte, o.size), make([]byte, readBuffer)
	var took []float64
	var until time.Time
	for left := warmUpEchoes; left > 0 || time.Now().Before(until); {
		from := time.Now()
		if err := l.near.send(message); err != nil {
			return nil, err
		}
		if _, err := l.near.raw.Read(buffer); err != nil {
			return nil, err
		}
		if left > 0 {
			left--
			until = time.Now().Add(o.duration())
			continue
		}
		took = append(took, float64(time.Since(from).Nanoseconds())/1e3)
	}
	return percentiles(took), nil
}

func percentiles(values []float64) report {
	sort.Float64s(values)
	at := func(share float64) float64 {
		return values[int(math.Round(float64(len(values)-1)*share))]
	}
	return report{"p50": at(0.5), "p99": at(0.99), "count": len(values)}
}

// hello is a message from the near end that the far end has received.
func (l *link) hello() error {
	if err := l.near.send(make([]byte, helloBytes)); err != nil {
		return err
	}
	_, err := l.far.raw.Read(make([]byte, readBuffer))
	return err
}

func setup(s *stack, o options) (report, error) {
	until := time.Now().Add(o.duration())
	var took []float64
	// The first pays for pages that are touched for the first time.
	for round := 0; round <= o.count; round++ {
		e, err := s.ends()
		if err != nil {
			return nil, err
		}
		from := time.Now()
		l, err := s.connect(e, true)
		if err != nil {
			return nil, err
		}
		if err := l.hello(); err != nil {
			return nil, err
		}
		if round > 0 {
			took = append(took, float64(time.Since(from).Nanoseconds())/1e6)
			if time.Now().After(until) {
				break
			}
		}
		if err := l.ends.near.Close(); err != nil {
			return nil, err
		}
		if err := l.ends.far.Close(); err != nil {
			return nil, err
		}
	}
	return percentiles(took), nil
}

// links are connections each of which has carried a message.
func (s *stack) links(count int) ([]*link, error) {
	made, failed := make(chan *link), make(chan error)
	free := make(chan struct{}, concurrent)
	for range count {
		go func() {
			free <- struct{}{}
			defer func() { <-free }()
			l, err := s.link(true)
			if err == nil {
				err = l.hello()
			}
			if err != nil {
				failed <- err
				return
			}
			made <- l
		}()
	}
	var all []*link
	for len(all) < count {
		select {
		case l := <-made:
			all = append(all, l)
		case err := <-failed:
			return nil, err
		}
	}
	return all, nil
}

func idle(s *stack, o options) (report, error) {
	// What the first connection allocates for all of them is none of theirs.
	first, err := s.links(1)
	if err != nil {
		return nil, err
	}
	time.Sleep(settle)
	before, err := resident()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	all, err := s.links(o.count)
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	time.Sleep(settle)
	m := now()
	time.Sleep(o.duration())
	seconds, cpu := m.elapsed()
	after, err := resident()
	if err != nil {
		return nil, err
	}
	kib := math.Max(after-before, 0) / 1024 / float64(len(all))
	_ = first[0].hello() // it and all the others are still in use
	return report{"kib": kib, "idle": cpu / seconds, "setup": took}, nil
}

func star(s *stack, o options) (report, error) {
	all, err := s.links(o.count)
	if err != nil {
		return nil, err
	}
	received := make([]atomic.Uint64, len(all))
	var sent atomic.Uint64
	var stop atomic.Bool
	for i, l := range all {
		go count(l.far, &received[i])
		go fill(l.near, o.size, &sent, &stop)
	}
	load := func() []uint64 {
		values := make([]uint64, len(received))
		for i := range received {
			values[i] = received[i].Load()
		}
		return values
	}
	time.Sleep(warmUp)
	m, before := now(), load()
	time.Sleep(o.duration())
	after := load()
	seconds, cpu := m.elapsed()
	var bytes uint64
	least := uint64(math.MaxUint64)
	for i := range after {
		moved := after[i] - before[i]
		bytes += moved
		least = min(least, moved)
	}
	share := float64(least) * float64(len(all)) / math.Max(float64(bytes), 1)
	return report{"bytes": bytes, "seconds": seconds, "cpu": cpu, "least": share}, nil
}
