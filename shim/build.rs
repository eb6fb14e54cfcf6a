//! Generates the gRPC services; their messages are those of `detcd-core`. The responses of a
//! watch are that of its hub, whose events are encoded once for all watchers.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../core/proto");
    let descriptors = protox::compile(["etcdserverpb.proto", "v3lock.proto", "v3election.proto"], ["../core/proto"])?;
    tonic_prost_build::configure()
        .extern_path(".etcdserverpb.WatchResponse", "::detcd_core::watch::WatchMessage")
        .extern_path(".etcdserverpb", "::detcd_core::proto::etcdserverpb")
        .extern_path(".mvccpb", "::detcd_core::proto::mvccpb")
        .extern_path(".v3lockpb", "::detcd_core::proto::v3lockpb")
        .extern_path(".v3electionpb", "::detcd_core::proto::v3electionpb")
        .compile_fds(descriptors)?;
    Ok(())
}
