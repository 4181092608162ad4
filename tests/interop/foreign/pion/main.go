// A Pion peer: JSON lines on stdin and stdout, one PeerConnection. It answers
// the in-band requests of the other side (respond.go).
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime/debug"
	"sync"
)

// The longest line that is taken.
const lineLimit = 1 << 22

// What the other side may ask for beyond channels.
var features = []string{"trickle", "offer"}

// A JSON object.
type object = map[string]any

var output sync.Mutex

func emit(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		text, _ = json.Marshal(object{"ev": "log", "msg": err.Error()})
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func log(message string) { emit(object{"ev": "log", "msg": message}) }

func result(id any, err error) {
	if err != nil {
		emit(object{"ev": "result", "id": id, "ok": false, "detail": object{"error": err.Error()}})
		return
	}
	emit(object{"ev": "result", "id": id, "ok": true, "detail": object{}})
}

// The version of Pion that this was built with.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/pion/webrtc/v4" {
				return module.Version
			}
		}
	}
	return "unknown"
}

func main() {
	emit(object{"ev": "ready", "impl": "pion", "version": version(), "features": features, "checks": []string{}})
	var peer *Peer
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 1<<16), lineLimit)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var command Command
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			log("not a command: " + err.Error())
			continue
		}
		switch {
		case command.Cmd == "exit":
			return
		case command.Cmd == "create":
			made, err := create(command.Config)
			peer = made
			result(command.ID, err)
		case peer == nil:
			log(command.Cmd + " before create")
		default:
			peer.obey(command)
		}
	}
}
