// How many frames advlib reads a second: node advlib.cjs FRAMES SECONDS, one JSON object out.

const { readFileSync } = require('fs');
const advlib = require('advlib');

const PROCESSORS = [
  {
    processor: require('advlib-ble'),
    libraries: [require('advlib-ble-services'), require('advlib-ble-manufacturers')],
    options: { isPayloadOnly: true, ignoreProtocolOverhead: true },
  },
];

const [frames, seconds] = process.argv.slice(2);
const packets = readFileSync(frames, 'utf8')
  .split('\n')
  .filter((line) => line && !line.startsWith('#'))
  .map((line) => line.split('\t')[2]);

// Read is what a library of a maker or a service made something of, beside the structures themselves.
const PLAIN = ['flags', 'name', 'txPower', 'uuids', 'uri', 'serviceData', 'manufacturerSpecificData'];
const isRead = (packet) => {
  const told = advlib.process([packet], PROCESSORS, []);
  return Object.keys(told).some((key) => !PLAIN.includes(key));
};

const read = packets.filter(isRead).length;
const begun = process.hrtime.bigint();
const passed = () => Number(process.hrtime.bigint() - begun) / 1e9;
let count = 0;
while (passed() < Number(seconds)) {
  for (let round = 0; round < 20; round++) {
    for (const packet of packets) {
      advlib.process([packet], PROCESSORS, []);
    }
  }
  count += 20 * packets.length;
}
console.log(JSON.stringify({ frames: count, seconds: passed(), read }));
