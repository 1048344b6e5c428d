// Generates src/<room>/gen/*.ts from every src/<room>/proto/*.proto with protoc and ts-proto.
// Nothing is done while every .proto (and this file) is older than the output.
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
	// Plain tables of each service's methods: src/grpc makes clients and servers of them.
	'outputServices=generic-definitions',
	'useExactTypes=false',
	'unrecognizedEnum=false',
	'exportCommonSymbols=false',
	'removeEnumPrefix=true',
].join(',');

/** Every room's .proto files; their names are unique, so they import each other by name alone. */
const rooms = readdirSync(src).flatMap((room) => {
	const protoDir = join(src, room, 'proto');
	const protos = existsSync(protoDir) ? readdirSync(protoDir).filter((name) => name.endsWith('.proto')).sort() : [];
	return protos.length > 0 ? [{ room, protoDir, protos }] : [];
});
const sources = [self, ...rooms.flatMap(({ protoDir, protos }) => [protoDir, ...protos.map((name) => join(protoDir, name))])];

for (const { room, protoDir, protos } of rooms) {
	const genDir = join(src, room, 'gen');
	const stamp = join(genDir, '.stamp');
	if (existsSync(stamp) && sources.every((file) => statSync(file).mtimeMs <= statSync(stamp).mtimeMs)) continue;
	const others = rooms.filter((other) => other.room !== room);
	const imports = others.flatMap((other) => other.protos.map((name) => `M${name}=../../${other.room}/gen/${name.replace('.proto', '.js')}`));
	// ts-proto takes the place of Timestamp for granted when it makes Dates.
	imports.push(`Mgoogle/protobuf/timestamp.proto=../../grpc/gen/wellknown.js`);
	rmSync(genDir, { recursive: true, force: true });
	mkdirSync(genDir, { recursive: true });
	execFileSync('protoc', [
		`--plugin=protoc-gen-ts_proto=${join(root, 'node_modules/.bin/protoc-gen-ts_proto')}`,
		`--proto_path=${protoDir}`,
		...others.map((other) => `--proto_path=${other.protoDir}`),
		`--ts_proto_out=${genDir}`,
		`--ts_proto_opt=${[options, ...imports].join(',')}`,
		...protos,
	], { stdio: 'inherit' });
	writeFileSync(stamp, '');
}
