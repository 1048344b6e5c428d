// The frontend image's program: BuildKit's gateway starts it with options in its environment and an HTTP/2
// server on its standard input and output. What goes wrong on the way to that server is on stderr.
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { RpcClient } from '../../src/grpc/index.js';
import { GatewayClient } from './client.js';
import { readEnvironment } from './environment.js';
import { runFrontend } from './run.js';

async function main(): Promise<void> {
	const stdin = new Socket({ fd: 0, readable: true, writable: false });
	const stdout = new Socket({ fd: 1, readable: false, writable: true });
	const rpc = new RpcClient(Duplex.from({ readable: stdin, writable: stdout }));
	await runFrontend(await GatewayClient.connect(rpc, readEnvironment(process.env)));
	rpc.close();
}

main().then(() => process.exit(0), (error: unknown) => {
	process.stderr.write(`dockerfile frontend: ${error instanceof Error ? error.message : String(error)}\n`);
	process.exit(1);
});
