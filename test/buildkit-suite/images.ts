// The images BuildKit's suites take from Docker Hub, as a registry's folder: stand-ins. Usage: images.js DIRECTORY
import { cpSync } from 'node:fs';
import path from 'node:path';
import { pushBase, tarOf } from '../integration/helpers/base-images.js';
import { officialBusybox, officialConfig as config } from '../integration/helpers/official-busybox.js';
import { startRegistry } from '../integration/helpers/registry.js';

const directory = process.argv[2];
if (directory === undefined) throw new Error('usage: images.js DIRECTORY');
const registry = await startRegistry();
try {
	const plain = await tarOf(officialBusybox());
	await pushBase(registry.host, 'library/busybox:latest', [plain], { config });
	await pushBase(registry.host, 'library/busybox:stable-musl', [plain], { config });
	await pushBase(registry.host, 'library/alpine:latest', [await tarOf(officialBusybox([{ name: 'etc/alpine-release', content: '3.22.0\n' }]))], { config: { ...config, Cmd: ['/bin/sh'] } });
	// Their tests need the real ones; a test run stops where an image cannot be mirrored.
	for (const name of ['tonistiigi/hellofs:latest', 'amd64/debian:bullseye-20230109-slim']) await pushBase(registry.host, name, [plain], { config });
	for (const name of ['tonistiigi/test:nolayers', 'cpuguy83/buildkit-foreign:latest']) await pushBase(registry.host, name, [], { config });
	cpSync(path.join(registry.directory, 'docker'), path.join(directory, 'docker'), { recursive: true });
} finally {
	await registry.stop();
}
