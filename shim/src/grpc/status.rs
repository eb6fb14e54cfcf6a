//! etcd's errors as gRPC carries them.

use detcd_core::api::{Code, Status};

/// The gRPC status of one of etcd's errors: its code, and its text to the letter.
pub fn to_grpc(status: Status) -> tonic::Status {
    tonic::Status::new(code(status.code()), status.message())
}

/// The status that ends a stream on which a message could not be read: gRPC's own libraries, and so etcd's clients,
/// call one beyond the receive limit `ResourceExhausted`; tonic says `OutOfRange`.
pub fn of_bad_message(status: tonic::Status) -> tonic::Status {
    match status.code() {
        tonic::Code::OutOfRange => tonic::Status::resource_exhausted(status.message()),
        _ => status,
    }
}

fn code(code: Code) -> tonic::Code {
    match code {
        Code::Cancelled => tonic::Code::Cancelled,
        Code::Unknown => tonic::Code::Unknown,
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Aborted => tonic::Code::Aborted,
        Code::OutOfRange => tonic::Code::OutOfRange,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Internal => tonic::Code::Internal,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::DataLoss => tonic::Code::DataLoss,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_keeps_its_number_and_its_text() {
        assert!(!Status::ALL.is_empty());
        for status in Status::ALL {
            let grpc = to_grpc(*status);
            assert_eq!(grpc.code() as i32, status.code() as i32, "{status:?}");
            assert_eq!(grpc.message(), status.message());
            // What comes of clients' limits and of the Lock and Election services has no prefix in etcd, either.
            let bare = ["context deadline exceeded", "mutex: ", "election: ", "\"leader\" field must be provided"];
            let known = bare.iter().any(|start| grpc.message().starts_with(start));
            assert!(known || grpc.message().starts_with("etcdserver: "), "{status:?}");
        }
    }
}
