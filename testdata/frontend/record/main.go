// Dfdump answers, one line of JSON for each line of input, what BuildKit's Dockerfile frontend makes of a
// Dockerfile. It has to be built inside BuildKit's source tree: see ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/pkg/errors"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// input is a build: its options, the files of its local directories, and image configs by reference ("*" for
// all others but those called missing).
type input struct {
	Opts   map[string]string            `json:"opts"`
	Locals map[string]map[string]string `json:"locals"`
	Images map[string]json.RawMessage   `json:"images"`
}

type vertex struct {
	Digest string `json:"digest"`
	Name   string `json:"name"`
	// Lines of the Dockerfile it comes from, whether the cache is ignored, its progress group.
	About string `json:"about"`
}

type output struct {
	Error    string            `json:"error,omitempty"`
	Lines    [][]int32         `json:"lines,omitempty"`
	Results  [][]vertex        `json:"results,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
}

// fake is a gateway client that reads from its input and runs nothing.
type fake struct {
	mu  sync.Mutex
	in  input
	out output
}

type ref map[string]string

func (r ref) ToState() (llb.State, error)        { return llb.Scratch(), nil }
func (r ref) Evaluate(ctx context.Context) error { return nil }
func (r ref) ReadFile(ctx context.Context, req client.ReadRequest) ([]byte, error) {
	data, ok := r[req.Filename]
	if !ok {
		return nil, &os.PathError{Op: "open", Path: req.Filename, Err: errors.New("no such file or directory")}
	}
	if req.Range != nil && req.Range.Length < len(data) {
		data = data[:req.Range.Length]
	}
	return append([]byte{}, data...), nil
}
func (r ref) StatFile(ctx context.Context, req client.StatRequest) (*fstypes.Stat, error) {
	return nil, errors.New("not supported")
}
func (r ref) ReadDir(ctx context.Context, req client.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, errors.New("not supported")
}

func (f *fake) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if req.Frontend != "" {
		return nil, errors.Errorf("forward to %s", req.FrontendOpt["source"])
	}
	vertices := []vertex{}
	files := ref{}
	for _, dt := range req.Definition.Def {
		var op pb.Op
		if err := op.Unmarshal(dt); err != nil {
			return nil, err
		}
		if op.Op == nil {
			continue
		}
		if s := op.GetSource(); s != nil {
			files = f.in.Locals[strings.TrimPrefix(s.Identifier, "local://")]
		}
		vertices = append(vertices, describe(digest.FromBytes(dt), req.Definition))
	}
	f.out.Results = append(f.out.Results, vertices)
	res := client.NewResult()
	res.SetRef(files)
	return res, nil
}

func describe(dgst digest.Digest, def *pb.Definition) vertex {
	v := vertex{Digest: string(dgst)}
	if md := def.Metadata[string(dgst)]; md != nil {
		v.Name = md.Description["llb.customname"]
		if md.IgnoreCache {
			v.About += "nocache "
		}
		if pg := md.ProgressGroup; pg != nil {
			v.About += fmt.Sprintf("group(%s,%v) ", pg.Name, pg.Weak)
		}
	}
	if def.Source != nil {
		if locs := def.Source.Locations[string(dgst)]; locs != nil {
			for _, loc := range locs.Locations {
				for _, r := range loc.Ranges {
					v.About += fmt.Sprintf("%d ", r.Start.Line)
				}
			}
		}
	}
	return v
}

func (f *fake) ResolveImageConfig(ctx context.Context, name string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config, ok := f.in.Images[name]
	if !ok && !strings.Contains(name, "missing") {
		config, ok = f.in.Images["*"]
	}
	if !ok {
		return "", "", nil, errors.Errorf("failed to resolve source metadata for %s: %s: not found", name, name)
	}
	return name, digest.FromBytes(config), config, nil
}

func (f *fake) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return nil, errors.New("not supported")
}

func (f *fake) BuildOpts() client.BuildOpts {
	opts := map[string]string{}
	for k, v := range f.in.Opts {
		opts[k] = v
	}
	return client.BuildOpts{
		Opts:      opts,
		SessionID: "session",
		Workers:   []client.WorkerInfo{{Platforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}}},
		LLBCaps:   pb.Caps.CapSet(pb.Caps.All()),
		Caps:      gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

func (f *fake) Inputs(ctx context.Context) (map[string]llb.State, error) { return nil, nil }

func (f *fake) NewContainer(ctx context.Context, req client.NewContainerRequest) (client.Container, error) {
	return nil, errors.New("not supported")
}

func (f *fake) Warn(ctx context.Context, dgst digest.Digest, msg string, opts client.WarnOpts) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Warnings = append(f.out.Warnings, msg)
	return nil
}

func run(in input) output {
	f := &fake{in: in}
	res, err := builder.Build(context.Background(), f)
	if err != nil {
		out := output{Error: err.Error()}
		for _, s := range errdefs.Sources(err) {
			lines := []int32{}
			for _, r := range s.Ranges {
				lines = append(lines, r.Start.Line)
			}
			out.Lines = append(out.Lines, lines)
		}
		return out
	}
	f.out.Metadata = map[string]string{}
	for k, v := range res.Metadata {
		f.out.Metadata[k] = string(v)
	}
	return f.out
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<28)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var in input
		if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
			panic(err)
		}
		if err := answers.Encode(run(in)); err != nil {
			panic(err)
		}
	}
}
