// Answers that describe the disk: INQUIRY and its vital product data, READ CAPACITY, MODE SENSE. Each takes
// the command and gives the whole answer, before it is cut to what the initiator allocated.
#pragma once
#include "device/scsi.h"

namespace obd::scsi {

Request inquiry(const uint8_t* cdb, const Disk& disk);
Request read_capacity_10(const uint8_t* cdb, const Disk& disk);
Request read_capacity_16(const uint8_t* cdb, const Disk& disk);
Request mode_sense_6(const uint8_t* cdb, const Disk& disk);
Request mode_sense_10(const uint8_t* cdb, const Disk& disk);
Request request_sense(const uint8_t* cdb);

}  // namespace obd::scsi
