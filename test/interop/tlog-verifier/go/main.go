// Checks a tiled log over HTTP with the packages of Go's checksum database (golang.org/x/mod/sumdb): the signed note, every
// tile, and every entry. It knows nothing of what the entries mean.
//
//	tlog-check URL VKEY
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type reader struct{ url string }

func (r reader) get(path string) ([]byte, error) {
	response, err := http.Get(r.url + "/" + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return io.ReadAll(response.Body)
}

// The checksum database has the height in its paths; tiled logs have not.
func pathOf(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

func (r reader) Height() int { return height }

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		bytes, err := r.get(pathOf(tile))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}

func check(url, vkey string) (int64, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return 0, err
	}
	r := reader{url}
	signed, err := r.get("checkpoint")
	if err != nil {
		return 0, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return 0, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return 0, fmt.Errorf("checkpoint of %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return 0, err
	}
	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, r)
	for first := int64(0); first < size; first += 1 << height {
		width := min(size-first, 1<<height)
		tile := tlog.Tile{H: height, L: 0, N: first >> height, W: int(width)}
		bundle, err := r.get(strings.Replace(pathOf(tile), "tile/0/", "tile/entries/", 1))
		if err != nil {
			return 0, err
		}
		var indexes []int64
		for i := range width {
			indexes = append(indexes, tlog.StoredHashIndex(0, first+i))
		}
		expected, err := hashes.ReadHashes(indexes)
		if err != nil {
			return 0, err
		}
		for i := range width {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return 0, fmt.Errorf("bundle at %d is cut off", first)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			if tlog.RecordHash(bundle[2:end]) != expected[i] {
				return 0, fmt.Errorf("entry %d is not in the tree", first+i)
			}
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return 0, fmt.Errorf("bundle at %d is too long", first)
		}
	}
	return size, nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: tlog-check URL VKEY")
		os.Exit(2)
	}
	size, err := check(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(size)
}
