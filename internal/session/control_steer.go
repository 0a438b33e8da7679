package session

import "fmt"

// steer changes what is recorded from now on, and says what it has done.
func (s *session) steer(r ControlRequest) (string, error) {
	return "", fmt.Errorf("this nopal cannot %s", r.Action)
}
