// Clients that hang up as soon as they have an answer while another of their calls goes on, for a test that looks how
// this process ends: node grpc-hang-up.js SOCKET ROUNDS
import net from 'node:net';
import { ContentDefinition, ReadContentRequest } from '../../src/session/gen/content.js';
import { HealthCheckRequest, HealthDefinition, RpcClient } from '../../src/grpc/index.js';

const [socket = '', rounds = ''] = process.argv.slice(2);

for (let round = 0; round < Number(rounds); round++) {
	const client = new RpcClient(net.connect(socket));
	const running = client.call(ContentDefinition.fullName, ContentDefinition.methods.read, {});
	await running.send(ReadContentRequest.create({ digest: 'sha256:' }));
	running.end();
	const reader = running[Symbol.asyncIterator]();
	await reader.next();
	await client.unary(HealthDefinition.fullName, HealthDefinition.methods.check, HealthCheckRequest.create());
	client.close();
	await reader.next().catch(() => undefined);
}
process.stdout.write('all hung up\n');
