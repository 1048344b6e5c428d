// What BuildKit's own frontend makes of 700 Dockerfiles (testdata/frontend): the same vertices, digest for
// digest, the same image config byte for byte, the same warnings and errors.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import type { PlatformResult } from '../../frontend/index.js';
import { buildDockerfile, encodeImage, FrontendError } from '../../frontend/index.js';
import { loadDefinition } from '../../src/llb/index.js';
import type { FakeOptions } from './frontend-harness.js';
import { fakeClient } from './frontend-harness.js';

interface Recorded {
	readonly name: string;
	readonly input: FakeOptions & { readonly opts: Record<string, string> };
	readonly expected: {
		readonly error?: string;
		readonly lines?: readonly (readonly number[])[];
		readonly result: readonly { readonly digest: string; readonly name: string; readonly about: string }[];
		readonly metadata?: Readonly<Record<string, string>>;
		readonly warnings: readonly string[];
	};
}

const file = join(dirname(fileURLToPath(import.meta.url)), '../../../testdata/frontend/recorded.jsonl.gz');
const cases = gunzipSync(readFileSync(file)).toString().split('\n').map((line) => JSON.parse(line) as Recorded);

/** BuildKit takes one of several equally good suggestions at random. */
function withoutSuggestion(text: string): string {
	return text.replace(/ \(did you mean [^)]*\)/g, '');
}

function describe({ definition }: PlatformResult): Recorded['expected']['result'] {
	return loadDefinition(definition).vertices.map(({ digest, metadata, locations }) => {
		const group = metadata.progressGroup;
		const lines = locations.flatMap(({ ranges }) => ranges.map(({ start }) => `${start?.line} `)).join('');
		return {
			digest,
			name: metadata.description.get('llb.customname') ?? '',
			about: `${metadata.ignoreCache ? 'nocache ' : ''}${group ? `group(${group.name},${group.weak}) ` : ''}${lines}`,
		};
	}).sort((a, b) => (a.digest < b.digest ? -1 : 1));
}

for (const { name, input, expected } of cases) {
	test(name, async (t) => {
		const client = fakeClient({ ...input, client: { sessionId: 'session' } });
		const outcome = await buildDockerfile(client).catch((error: unknown) => error as Error);
		const about = JSON.stringify([input.opts, input.locals['dockerfile']]);
		if (outcome instanceof Error) {
			t.is(withoutSuggestion(outcome.message), withoutSuggestion(expected.error ?? 'is built'), about);
			const lines = outcome instanceof FrontendError ? outcome.sources.map(({ ranges }) => ranges.map(({ start }) => start?.line)) : [];
			t.deepEqual(lines, [...(expected.lines ?? [])].map((one) => [...one]), about);
			return;
		}
		t.is(expected.error, undefined, about);
		const [result] = outcome.platforms;
		if (!result) return t.fail('no result');
		t.deepEqual(describe(result), expected.result, about);
		const suffix = outcome.multiPlatform ? `/${result.id}` : '';
		t.is(encodeImage(result.imageConfig).toString(), expected.metadata?.[`containerimage.config${suffix}`] ?? '', about);
		t.is(result.baseImageConfig && encodeImage(result.baseImageConfig).toString(), expected.metadata?.[`containerimage.base.config${suffix}`]);
		t.is(result.epoch === undefined ? undefined : String(result.epoch), expected.metadata?.[`source.date.epoch${suffix}`]);
		t.deepEqual(client.warnings.map(({ short }) => withoutSuggestion(short)).sort(), expected.warnings.map(withoutSuggestion).sort(), about);
	});
}
