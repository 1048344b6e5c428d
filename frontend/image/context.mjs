// Makes DIRECTORY (default dist/frontend-image), the build context of the frontend image: the Dockerfile beside this file, and
// rootfs/ with the Node that runs this script, the shared libraries it needs, and the frontend as one script.
// Usage: context.mjs [DIRECTORY]; then obd-build --output type=image,name=REGISTRY/obd/dockerfile,compression=gzip,push=true dist/frontend-image
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
const context = process.argv[2] ?? join(root, 'dist/frontend-image');
const rootfs = join(context, 'rootfs');

rmSync(context, { recursive: true, force: true });
mkdirSync(join(rootfs, 'bin'), { recursive: true });
cpSync(join(here, 'Dockerfile'), join(context, 'Dockerfile'));
copyNode();
await bundle();

/** Libraries keep their paths: the loader's own is written in the program. */
function copyNode() {
	cpSync(process.execPath, join(rootfs, 'bin/node'), { dereference: true });
	const listed = execFileSync('ldd', [process.execPath], { encoding: 'utf8' });
	for (const [, library] of listed.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) {
		mkdirSync(join(rootfs, dirname(library)), { recursive: true });
		cpSync(library, join(rootfs, library), { dereference: true });
	}
}

async function bundle() {
	await build({
		absWorkingDir: root, bundle: true, platform: 'node', target: `node${process.versions.node}`, logLevel: 'warning',
		entryPoints: ['frontend/gateway/main.ts'],
		outfile: join(rootfs, 'frontend.cjs'),
		format: 'cjs',
		minify: true,
		keepNames: true,
	});
}
