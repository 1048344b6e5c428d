// Output of a step on its way to whoever watches: a step that prints without end must not fill a client's
// memory or a CI log. Limits and texts are BuildKit's.
import type { VertexReporter } from '../solver/index.js';

const maxBytes = 2 * 1024 * 1024;
const maxBytesPerSecond = 200 * 1024;
/** What was clipped last is shown after all when the step fails. */
const tailBytes = 64 * 1024;

type Stream = 1 | 2;

/** One stream of a step: passes on what is within the limits. */
class LimitedStream {
	readonly #started = performance.now();
	#size = 0;
	#clipping = false;
	#tail = Buffer.alloc(0);

	constructor(private readonly stream: Stream, private readonly reporter: VertexReporter) {}

	write(data: Uint8Array): void {
		const seconds = Math.ceil((performance.now() - this.#started) / 1000);
		const bySpeed = seconds * maxBytesPerSecond;
		const limit = Math.min(bySpeed, maxBytes);
		const room = Math.max(0, Math.min(data.length, limit - this.#size));
		this.#size += data.length;
		if (room > 0) this.reporter.log(this.stream, data.subarray(0, room));
		if (room === data.length) {
			this.#clipping = false;
			return;
		}
		this.#tail = Buffer.concat([this.#tail, data.subarray(room)]).subarray(-tailBytes);
		if (this.#clipping) return;
		this.#clipping = true;
		const reason = bySpeed < maxBytes ? '200KiB/s' : '2MiB';
		this.reporter.log(this.stream, Buffer.from(`\n[output clipped, log limit ${reason} reached]\n`));
	}

	flush(): void {
		if (this.#clipping && this.#tail.length > 0) this.reporter.log(this.stream, this.#tail);
		this.#tail = Buffer.alloc(0);
	}
}

export class StepLog {
	readonly #streams: Readonly<Record<Stream, LimitedStream>>;

	constructor(reporter: VertexReporter) {
		this.#streams = { 1: new LimitedStream(1, reporter), 2: new LimitedStream(2, reporter) };
	}

	write(stream: Stream, data: Uint8Array): void {
		this.#streams[stream].write(data);
	}

	/** Shows the end of what was clipped: the error is there. */
	flush(): void {
		this.#streams[1].flush();
		this.#streams[2].flush();
	}
}
