// Generates src/<room>/gen/*.ts from every src/<room>/proto/*.proto with protoc and ts-proto.
// A room whose newest .proto (and this file) is older than its output is left alone.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);
const root = join(dirname(self), '../../..');
const src = join(root, 'src');

const options = [
	'esModuleInterop=true',
	'importSuffix=.js',
	// Discriminated unions: `op.op.$case === 'exec'` narrows to `op.op.exec`.
	'oneof=unions',
	// bigint unless the .proto says JS_NUMBER: see the head of ops.proto.
	'forceLong=bigint',
	'useJsTypeOverride=true',
	// Maps keep the order they are filled in, whatever the keys look like, and a key named __proto__ is a key.
	'useMapType=true',
	'outputJsonMethods=false',
	'outputServices=false',
	'useExactTypes=false',
	'unrecognizedEnum=false',
	'exportCommonSymbols=false',
	'removeEnumPrefix=true',
].join(',');

for (const room of readdirSync(src)) {
	const protoDir = join(src, room, 'proto');
	if (!existsSync(protoDir)) continue;
	const protos = readdirSync(protoDir).filter((name) => name.endsWith('.proto')).sort();
	if (protos.length === 0) continue;
	const genDir = join(src, room, 'gen');
	const stamp = join(genDir, '.stamp');
	const sources = [self, protoDir, ...protos.map((name) => join(protoDir, name))];
	if (existsSync(stamp) && sources.every((file) => statSync(file).mtimeMs <= statSync(stamp).mtimeMs)) continue;
	rmSync(genDir, { recursive: true, force: true });
	mkdirSync(genDir, { recursive: true });
	execFileSync('protoc', [
		`--plugin=protoc-gen-ts_proto=${join(root, 'node_modules/.bin/protoc-gen-ts_proto')}`,
		`--proto_path=${protoDir}`,
		`--ts_proto_out=${genDir}`,
		`--ts_proto_opt=${options}`,
		...protos,
	], { stdio: 'inherit' });
	writeFileSync(stamp, '');
}
