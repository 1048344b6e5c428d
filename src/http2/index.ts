// What HTTP/2 of older Nodes has to be kept from, for the rooms that speak it (grpc/, registry/).
// While nghttp2 hands on what has come, a reset that is sent frees its stream, and nghttp2 goes on with that memory
// (nodejs/node#64113; mended in later releases of 22 and 24). Whatever waits for an answer runs there.
import type { Http2Session, Http2Stream } from 'node:http2';

/** RFC 9113, section 7. Not Node's own constant: that would load all of HTTP/2 where it is not spoken. */
const CANCEL = 8;

/** Destroys a session once nothing of it is being received any more: it sends the resets of its streams at once. */
export function destroySession(session: Http2Session): void {
	setImmediate(() => { session.destroy(); });
}

/** Whatever destroys the stream, an abort or a reader that has enough, resets it as CANCEL, the one code whose reset Node puts off. */
export function resetAsCanceled(stream: Http2Stream): void {
	const destroy = stream._destroy.bind(stream);
	stream._destroy = (error, callback) => {
		if (!stream.closed && !stream.pending) stream.close(CANCEL);
		destroy(error, callback);
	};
}
