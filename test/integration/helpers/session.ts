// A client's session made by a test: it serves what the test says.
import { randomUUID } from 'node:crypto';
import { ControlDefinition } from '../../../src/control/gen/control.js';
import type { RpcClient, RpcServer } from '../../../src/grpc/index.js';
import { Tunnel } from '../../../src/session/index.js';

/** Opens a session that offers these methods, `/package.Service/Method`. Returns its id. */
export function lendServices(client: RpcClient, server: RpcServer, offered: readonly string[]): string {
	const id = randomUUID();
	const metadata = { 'x-docker-expose-session-uuid': id, 'x-docker-expose-session-grpc-method': [...offered] };
	const call = client.call(ControlDefinition.fullName, ControlDefinition.methods.session, { metadata });
	void server.serve(new Tunnel(call, (message) => call.send(message), () => { call.end(); }));
	return id;
}
