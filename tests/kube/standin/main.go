// Command standin is what the applications of docs/examples/shop.yaml do, where their own images cannot be pulled: `http-echo`, and
// `curl` and `sleep` as far as they are needed. It is each of them by its name.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "http-echo":
		err = echo()
	case "curl":
		err = curl(os.Args[len(os.Args)-1])
	case "sleep":
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
	default:
		err = fmt.Errorf("%s is none of http-echo, curl and sleep", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func echo() error {
	text := flag.String("text", "", "what is answered")
	listen := flag.String("listen", ":5678", "where it listens")
	flag.Parse()
	return http.ListenAndServe(*listen, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, *text)
	}))
}

func curl(url string) error {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
