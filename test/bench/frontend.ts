// Reads and converts a Dockerfile of 1,200 lines and 200 stages, all of them needed, once in a fresh process
// as a build does. Goal: under 100 ms on a quiet machine. Run: node dist/test/bench/frontend.js
import { buildDockerfile } from '../../frontend/index.js';
import { loadDefinition } from '../../src/llb/index.js';
import { fakeClient } from '../unit/frontend-harness.js';

const stages = Array.from({ length: 200 }, (_, i) => [
	`FROM ${i % 9 === 0 ? 'base' : `s${i - 1}`} AS s${i}`,
	`ARG X${i}=a`,
	`ENV A${i}=$X${i} B=\${X${i}:-x}`,
	`RUN echo "$A${i}" && \\`,
	'  make -j${B} "all things"',
	i > 0 ? `COPY --from=s${i - 1} --chown=1:1 /a /b/` : 'WORKDIR /src',
].join('\n'));
const dockerfile = `${stages.join('\n')}\n`;
const base = { architecture: 'amd64', os: 'linux', config: { Env: ['PATH=/bin'] }, rootfs: { type: 'layers', diff_ids: [`sha256:${'0'.repeat(64)}`] } };

const client = fakeClient({ locals: { dockerfile: { Dockerfile: dockerfile }, context: {} }, images: { '*': base } });
const start = performance.now();
const cpu = process.cpuUsage();
const { platforms: [result] } = await buildDockerfile(client);
const wall = performance.now() - start;
const { user, system } = process.cpuUsage(cpu);
const vertices = result ? loadDefinition(result.definition).vertices.length : 0;
console.log(`${dockerfile.split('\n').length} lines, ${vertices} vertices: ${wall.toFixed(0)} ms, ${((user + system) / 1000).toFixed(0)} ms CPU`);
