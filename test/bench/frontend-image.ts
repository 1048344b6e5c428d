// How long the frontend image takes to start under the stock buildkitd at $BUILDKIT_HOST (buildctl on the PATH): from
// the moment it is there until the frontend asks for its first vertex, and whole builds of a Dockerfile without
// steps, beside those of the frontend that is built into buildkitd. Goal of the start: under a second.
//   BUILDKIT_HOST=unix:///run/buildkit/buildkitd.sock node dist/test/bench/frontend-image.js
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, makeContext, makeStore } from '../integration/helpers/obd.js';
import { startRegistry } from '../integration/helpers/registry.js';
import { measure, median } from './measure.js';

const rounds = Number(process.env['OBD_BENCH_ROUNDS'] ?? 11);
const contextScript = fileURLToPath(new URL('../../../frontend/image/context.mjs', import.meta.url));

interface Vertex {
	readonly name: string;
	readonly started?: string;
	readonly completed?: string;
}

/** Milliseconds between the end of what the daemon does for the image and the frontend's first vertex, from `--progress rawjson`. */
function startOf(progress: string): number {
	const vertexes = progress.split('\n').filter((line) => line.startsWith('{')).flatMap((line) => (JSON.parse(line) as { readonly vertexes?: readonly Vertex[] }).vertexes ?? []);
	const ready = Math.max(...vertexes.filter(({ name, completed }) => name.includes('docker-image://') && completed !== undefined).map(({ completed = '' }) => Date.parse(completed)));
	const asked = Math.min(...vertexes.filter(({ name, started }) => name.includes('load build definition') && started !== undefined).map(({ started = '' }) => Date.parse(started)));
	return asked - ready;
}

const range = (values: readonly number[]): string => `${median(values).toFixed(2)} s (${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)})`;

const registry = await startRegistry();
const store = await makeStore();
try {
	const image = `${registry.host}/obd/dockerfile`;
	execFileSync(process.execPath, [contextScript, path.join(store.directory, 'image')]);
	await build(store, ['--output', `type=image,name=${image},compression=gzip,push=true`, path.join(store.directory, 'image')]);
	const starts: number[] = [];
	const walls = { image: [] as number[], builtin: [] as number[] };
	// The first round pulls the image.
	for (let round = 0; round <= rounds; round++) {
		const context = await makeContext(store, { Dockerfile: `FROM scratch\nLABEL round=${process.pid}.${round}\n` });
		for (const [name, frontend] of [['builtin', ['dockerfile.v0']], ['image', ['gateway.v0', '--opt', `source=${image}`]]] as const) {
			const { wallSeconds, exitCode, output } = await measure('buildctl', ['build', '--progress', 'rawjson', '--frontend', ...frontend, '--local', `context=${context}`, '--local', `dockerfile=${context}`]);
			if (exitCode !== 0) throw new Error(`the build failed:\n${output}`);
			if (round === 0) continue;
			walls[name].push(wallSeconds);
			if (name === 'image') starts.push(startOf(output) / 1000);
		}
	}
	console.log(`median of ${rounds} (from, to): start of the frontend image ${range(starts)}; whole build with it ${range(walls.image)}, with the built-in one ${range(walls.builtin)}`);
} finally {
	await store.dispose();
	await registry.stop();
}
