// gRPC over Node's own HTTP/2: a server on sockets or any duplex stream, a client over any duplex stream.
// Knows no service; those come from each room's .proto files. (@grpc/grpc-js has no client over a given
// stream, which both the session's tunnel and a frontend's standard output need.)
export type { CallOptions, ClientCall } from './client.js';
export { RpcClient } from './client.js';
export type { ListenOptions } from './server.js';
export { RpcServer } from './server.js';
export type { Handler, Handlers, MessageType, Method, RequestOf, ResponseOf, Send, ServerCall, Service } from './service.js';
export { Metadata, type OutgoingMetadata } from './metadata.js';
export { Code, RpcError, errorOf, statusOf, toRpcError } from './status.js';
export { Any, Status } from './gen/status.js';
export { Empty } from './gen/wellknown.js';
export { HealthCheckRequest, HealthCheckResponse, HealthCheckResponse_ServingStatus, HealthDefinition } from './gen/health.js';
export { Registry } from './registry.js';
