package wire

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// answered asks a peer that gives that answer, and returns what the peer was asked.
func answered(t *testing.T, q question, answer string) (asked *http.Request, body string, err error) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		if asked, _ = http.ReadRequest(bufio.NewReader(theirs)); asked != nil {
			text, _ := io.ReadAll(asked.Body)
			body = string(text)
		}
		_, _ = io.WriteString(theirs, answer)
	}()
	c := newHTTP1(ours, q)
	err = c.ask()
	require.NoError(t, c.Close())
	<-done
	return asked, body, err
}

func TestHTTP1AsksTheQuestion(t *testing.T) {
	q := askDecision(principal(1))
	asked, body, err := answered(t, q, "HTTP/1.1 200 OK\r\nContent-Length: 18\r\nX: y\r\n\r\n"+q.answer)
	require.NoError(t, err, "an answer of %d bytes", len(q.answer))
	require.Equal(t, []string{q.method, q.path, q.body, serverName, "application/json"},
		[]string{asked.Method, asked.URL.Path, body, asked.Host, asked.Header.Get("Content-Type")})
	asked, body, err = answered(t, readOrder(""), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
	require.NoError(t, err)
	require.Equal(t, []string{"GET", "/orders/42", ""}, []string{asked.Method, asked.URL.Path, body})
}

func TestHTTP1TakesNoOtherAnswer(t *testing.T) {
	for _, test := range []struct {
		answer string
		want   error
	}{
		{"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nok\n", ErrAnswer},
		{"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nok\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok\n\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nok\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\n\r\nok\n", ErrAnswer},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", io.EOF},
		{"HTTP/1.1 200 OK\r\nContent-Le", io.EOF},
		{"", io.EOF},
	} {
		_, _, err := answered(t, readOrder(""), test.answer)
		require.ErrorIs(t, err, test.want, "%q", test.answer)
	}
}
